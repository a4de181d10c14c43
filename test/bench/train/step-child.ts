/** Trains the network of a job folder with the runtime, on command: the counterpart of `peers/train_step.py`. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeModel, loadModel } from '@edgefit/shared/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { buildStep, LOSS_OUTPUT } from '../../../agent/compress/train/step/build-step.ts'
import { LABELS_INPUT } from '../../../agent/compress/train/step/losses.ts'
import { type Optimizer, optimizerScalars } from '../../../agent/compress/train/step/optimizers.ts'
import { nextOf } from '../../../agent/compress/train/step/step-emitter.ts'
import { trainableWeights } from '../../../agent/compress/train/trainable.ts'
import type { TrainJob } from './job.ts'
import { savedBytes } from './saved-values.ts'
import { answerTurns } from './turns.ts'

const [folder = '', profilePrefix] = process.argv.slice(2)
const job: TrainJob = JSON.parse(await readFile(join(folder, 'job.json'), 'utf8'))
const raw = await readFile(join(folder, 'tensors.bin'))
const floats = new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4)

function tensorOf(name: string): Tensor {
  const { at = 0, dims = [] } = job.tensors[name] ?? {}
  return new Tensor('float32', floats.slice(at, at + dims.reduce((product, dim) => product * dim, 1)), [...dims])
}

const model = await loadModel(join(folder, 'model.onnx'))
const optimizer: Optimizer = { kind: 'sgd', momentum: job.momentum, weightDecay: 0 }
const step = buildStep({
  model,
  batch: job.batch,
  trainable: trainableWeights(model, { kind: 'all' }),
  loss: { kind: 'cross-entropy', labelSmoothing: 0 },
  optimizer,
})
const session = await InferenceSession.create(encodeModel(step.model), {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  enableMemPattern: false,
  logSeverityLevel: 3,
  ...(profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: profilePrefix }),
})

const labels = tensorOf('labels')
const feeds: Record<string, Tensor> = {
  [job.input]: tensorOf(job.input),
  [LABELS_INPUT]: new Tensor('int64', BigInt64Array.from(labels.data as Float32Array, BigInt), [job.batch]),
}
for (const { name, dims } of step.carried) {
  const count = dims.reduce((product, dim) => product * dim, 1)
  feeds[name] = job.tensors[name] ? tensorOf(name) : new Tensor('float32', new Float32Array(count), [...dims])
}
for (const [name, value] of Object.entries(optimizerScalars(optimizer, 1, job.learningRate))) {
  feeds[name] = new Tensor('float32', Float32Array.of(value), [])
}

async function train(): Promise<number> {
  const outputs = await session.run(feeds)
  for (const { name } of step.carried) feeds[name] = outputs[nextOf(name)] ?? feeds[name]!
  return Number(outputs[LOSS_OUTPUT]?.data[0])
}

await answerTurns(train, { savedMib: savedBytes(step.model, LOSS_OUTPUT) / 2 ** 20 })
session.endProfiling()
await session.release()
