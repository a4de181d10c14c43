// Loads the model that serves in a slot, exactly as it was measured: node load-active-model.mjs STATE_DIR [SLOT]
import { readFileSync, realpathSync } from 'node:fs'
import { InferenceSession } from 'onnxruntime-node'

const [stateDir, slot = 'default'] = process.argv.slice(2)
// Resolved once: an activation between the two reads must not mix two versions.
const folder = realpathSync(`${stateDir}/active/${slot}`)
const { sessionOptions, inputs, outputs } = JSON.parse(readFileSync(`${folder}/runtime.json`, 'utf8'))
const session = await InferenceSession.create(`${folder}/model.onnx`, sessionOptions)
console.log(JSON.stringify({ inputs, outputs, names: session.outputNames }))
