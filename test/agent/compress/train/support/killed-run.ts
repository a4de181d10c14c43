/** Trains until it is done, or killed: tells of every update, and at the end what came of it. `killed-run.test.ts` starts it. */
import { join } from 'node:path'
import { digestBytes } from '@edgefit/shared/artifact'
import type { TrainingPlan } from '../../../../../agent/compress/train/plan.ts'
import { stampedFile } from '../../../../../agent/compress/train/stamped-file.ts'
import { presentTeacher } from '../../../../../agent/compress/train/teacher.ts'
import { train } from '../../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../../agent/compress/train/trainable.ts'
import type { TrainingState } from '../../../../../agent/compress/train/training-state.ts'
import { openSession } from '../../support/runtime.ts'
import { afterUpdate } from './after-update.ts'
import { portsOf, SMALL_PLAN, untrainedModel } from './breast-cancer-training.ts'

const [folder = ''] = process.argv.slice(2)
const model = await untrainedModel()
const plan: TrainingPlan = {
  ...SMALL_PLAN,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
  learningRate: 0.01,
  batch: 16,
  accumulation: 2,
  sparsity: { final: 0.8, scope: 'global', risesOver: 0.6, everyUpdates: 5 },
  penalties: [{ kind: 'l1', strength: 1e-4 }],
  loss: { kind: 'distillation', temperature: 2, mixing: 1, labelSmoothing: 0 },
  augmentation: { shifts: [{ axis: 1, most: 2 }], mirrors: [1], mixup: 0.4 },
}
let nowMs = 0
const { data } = await portsOf()
const teacher = await presentTeacher({ model: await untrainedModel(7), data, plan, openSession, threads: 1 }, [])
const ports = await portsOf({
  data: {
    ...data,
    feeds(indices) {
      // So slow that a checkpoint is due after every update.
      nowMs += 15_000
      return data.feeds(indices)
    },
  },
  checkpoints: stampedFile<TrainingState>(join(folder, 'checkpoint'), 'key'),
  openTeacher: () => Promise.resolve(teacher),
  monotonicNow: () => nowMs,
  onProgress: afterUpdate(({ update }) => process.stdout.write(`${update}\n`)),
})
const trainee = { model, trainable: trainableWeights(model, plan.trainable) }
const { weights, history } = await train(trainee, plan, ports, new AbortController().signal)
const bytes = [...weights].map(([name, { buffer }]) => [name, Buffer.from(buffer).toString('base64')])
process.stdout.write(`${digestBytes(Buffer.from(JSON.stringify([bytes, history])))}\n`)
