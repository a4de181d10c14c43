import { readFile } from 'node:fs/promises'
import { encodeModel, floatTensor, loadModel, type Model } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import type { TrainingPlan } from '../../../../../agent/compress/train/plan.ts'
import type { TrainingPorts } from '../../../../../agent/compress/train/train.ts'
import type { TrainingData } from '../../../../../agent/compress/train/training-data.ts'
import { withWeights } from '../../../../../agent/compress/train/with-weights.ts'
import { BREAST_CANCER_MODEL } from '../../../../support/breast-cancer.ts'
import { openSession } from '../../support/runtime.ts'

const FEATURES = 30

export const SMALL_PLAN: TrainingPlan = {
  trainable: { kind: 'all' },
  loss: { kind: 'cross-entropy', labelSmoothing: 0 },
  hints: [],
  penalties: [],
  optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0 },
  learningRate: 0.05,
  schedule: { kind: 'cosine', warmUpSteps: 0, finalRatio: 0.05 },
  updates: 40,
  batch: 32,
  accumulation: 1,
  seed: 1,
  evaluateEvery: 10,
  patience: 10,
  keepZeros: true,
}

/** The model as its architecture alone: weights drawn at random (He), biases zero. */
export async function untrainedModel(seed = 1): Promise<Model> {
  const model = await loadModel(BREAST_CANCER_MODEL)
  const random = seededRandom(seed)
  const initializers = new Map(model.graph.initializers)
  for (const { inputs, opType } of model.graph.nodes) {
    if (opType !== 'Gemm') continue
    const [, weights = '', bias = ''] = inputs
    const dims = initializers.get(weights)?.dims ?? []
    const scale = Math.sqrt(6 / (dims[1] ?? 1))
    const count = dims.reduce((product, dim) => product * dim, 1)
    initializers.set(
      weights,
      floatTensor(
        weights,
        dims,
        Float32Array.from({ length: count }, () => (2 * random() - 1) * scale),
      ),
    )
    const biasDims = initializers.get(bias)?.dims ?? []
    initializers.set(bias, floatTensor(bias, biasDims, new Float32Array(biasDims[0] ?? 0)))
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

interface Samples {
  readonly features: Float32Array
  readonly labels: readonly number[]
}

/** Every second row for training, the others to judge by. */
export async function breastCancer(): Promise<{ readonly training: TrainingData; readonly tuning: Samples }> {
  const path = new URL('../../../../fixtures/breast-cancer/breast_cancer.csv', import.meta.url)
  const lines = (await readFile(path, 'utf8')).trim().split('\n').slice(1)
  const rows = lines.map((line) =>
    line
      .split(',')
      .slice(1)
      .filter((cell) => cell !== '')
      .map(Number),
  )
  const part = (remainder: number): Samples => {
    const own = rows.filter((_, at) => at % 2 === remainder)
    return {
      features: Float32Array.from(own.flatMap((row) => row.slice(1, 1 + FEATURES))),
      labels: own.map(([label = 0]) => label),
    }
  }
  return { training: dataOf(part(0)), tuning: part(1) }
}

export function dataOf({ features, labels }: Samples): TrainingData {
  return {
    count: labels.length,
    hasLabels: true,
    feeds: (indices) => {
      const data = new Float32Array(indices.length * FEATURES)
      for (const [row, at] of indices.entries()) {
        data.set(features.subarray(at * FEATURES, (at + 1) * FEATURES), row * FEATURES)
      }
      return Promise.resolve({ input: { type: 'float32', dims: [indices.length, FEATURES], data } })
    },
    labels: (indices) => Promise.resolve(Float64Array.from(indices, (at) => labels[at] ?? -1)),
  }
}

/** Top-1 accuracy on `samples`. */
export function judgeOn({ features, labels }: Samples): (model: Model) => Promise<number> {
  return async (model) => {
    const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
    try {
      const dims = [labels.length, FEATURES]
      const scores = (await session.run({ input: { type: 'float32', dims, data: features } }))['logits']?.data
      const right = labels.filter((label, at) => {
        const [no, yes] = [Number(scores?.[2 * at]), Number(scores?.[2 * at + 1])]
        return (yes > no ? 1 : 0) === label
      })
      return right.length / labels.length
    } finally {
      await session.release()
    }
  }
}

export async function portsOf(parts: Partial<TrainingPorts> = {}): Promise<TrainingPorts> {
  const model = await untrainedModel()
  const { training, tuning } = await breastCancer()
  const judge = judgeOn(tuning)
  let nowMs = 0
  return {
    data: training,
    judge: (weights) => judge(withWeights(model, weights)),
    openSession,
    threads: 1,
    monotonicNow: () => (nowMs += 1000),
    ...parts,
  }
}
