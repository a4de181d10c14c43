/** Trains a part of a network with the runtime, on command: as many steps as a line says. */
import type { Training } from '@edgefit/shared/model'
import { asFloat32, loadModel } from '@edgefit/shared/onnx'
import { simplify } from '../../../agent/compress/simplify.ts'
import { type Numbers, openStep } from '../../../agent/compress/train/run-step.ts'
import { buildStep } from '../../../agent/compress/train/step/build-step.ts'
import { trainableWeights } from '../../../agent/compress/train/trainable.ts'
import { openSession } from '../../../agent/measure/ort-session.ts'
import { answerTurns } from './turns.ts'

const [modelPath = '', training = '{}'] = process.argv.slice(2)
const plan: Training = JSON.parse(training)
const model = simplify(await loadModel(modelPath))
const [input] = model.graph.inputs
const dims = (input?.type?.kind === 'tensor' ? (input.type.shape ?? []) : []).slice(1).map(Number)
const step = buildStep({ ...plan, model, trainable: trainableWeights(model, plan.trainable) })
const sampleSize = dims.reduce((product, dim) => product * dim, 1)
const data = {
  count: plan.batch,
  hasLabels: true,
  feeds: (indices: readonly number[]) => {
    const values = Float32Array.from({ length: indices.length * sampleSize }, (_, at) => Math.sin(at))
    const feed = { type: 'float32' as const, dims: [indices.length, ...dims], data: values }
    return Promise.resolve({ [input?.name ?? '']: feed })
  },
  labels: (indices: readonly number[]) => Promise.resolve(Float64Array.from(indices, (at) => at % step.classes)),
}
const runner = await openStep(step, plan, { data, openSession, threads: 1 })
let carried: Numbers = new Map(
  step.carried.map(({ name, dims: shape }) => {
    const tensor = model.graph.initializers.get(name)
    const count = shape.reduce((product, dim) => product * dim, 1)
    return [name, tensor === undefined ? new Float32Array(count) : Float32Array.from(asFloat32(tensor))]
  }),
)
const batch = Array.from({ length: plan.batch }, (_, at) => at)

/** At no rate: what is timed does not depend on where training is. */
async function update(): Promise<number> {
  const updated = await runner.update(carried, [batch], { updateOfOptimizer: 1, rate: 0 })
  carried = updated.carried
  return updated.loss
}

await answerTurns(update)
await runner.release()
