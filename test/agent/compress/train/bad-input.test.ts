import { Recipe } from '@edgefit/shared/model'
import { floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type TrainingPort } from '../../../../agent/compress/index.ts'
import { train } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, openSession } from '../support/runtime.ts'
import { portsOf, SMALL_PLAN } from './support/breast-cancer-training.ts'

const signal = new AbortController().signal
const COUNT = 8
const DATA: TrainingPort['data'] = {
  count: COUNT,
  hasLabels: true,
  feeds: (indices) =>
    Promise.resolve({
      x: float32([indices.length, 4], Float32Array.from(indices.flatMap((index) => [...randomValues(4, index + 1)]))),
    }),
  labels: (indices) => Promise.resolve(Float64Array.from(indices, (index) => index % 3)),
}

async function trained(model: Model, plan: Partial<typeof SMALL_PLAN> = {}) {
  const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
  const ports = await portsOf({ data: DATA, judge: () => Promise.resolve(0.5) })
  return await train(trainee, { ...SMALL_PLAN, batch: COUNT, updates: 20, ...plan }, ports, signal)
}

const net = (
  nodes: Parameters<typeof modelOf>[0]['nodes'],
  constants: Parameters<typeof modelOf>[0]['constants'] = [],
) => modelOf({ inputs: { x: ['n', 4] }, outputs: ['y'], nodes, constants })

describe('training refuses', () => {
  it('gradients that are no numbers though the loss is one, after as many tries as there are', async () => {
    // The root of 0 is 0, and its slope is infinite; times the 0 that comes from above it is no number.
    const model = net(
      [
        op('MatMul', 'x w -> a'),
        op('Mul', 'a none -> b'),
        op('Relu', 'b -> c'),
        op('Sqrt', 'c -> d'),
        op('Gemm', 'd v -> y'),
      ],
      [randomTensor('w', [4, 5], 1), floatTensor('none', [], Float32Array.of(0)), randomTensor('v', [5, 3], 2)],
    )
    await expect(trained(model)).rejects.toMatchObject({
      code: 'PASS_FAILED',
      message: expect.stringMatching(/the gradients became NaN.*"learningRate"/s),
    })
  })

  it('a batch larger than the data', async () => {
    const model = net([op('Gemm', 'x w -> y')], [randomTensor('w', [4, 3], 1)])
    await expect(trained(model, { batch: COUNT + 1 })).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining(`a batch of ${COUNT + 1} is larger than the ${COUNT} training samples`),
    })
  })

  it.each([
    [
      'a model without weights',
      net([op('Relu', 'x -> y')]),
      { kind: 'all' },
      /no weight to train.*train before quantizing/s,
    ],
    [
      'a scope without weights',
      net([op('MatMul', 'x w -> y')], [randomTensor('w', [4, 3], 1)]),
      { kind: 'biases-and-norms' },
      /scope biases-and-norms.*another scope/s,
    ],
    [
      'weights that no gradient reaches',
      net([op('MatMul', 'x w -> a'), op('Sign', 'a -> y')], [randomTensor('w', [4, 3], 1)]),
      { kind: 'all' },
      /no weight of the model can be trained: "w" is/,
    ],
  ])('%s', async (_, source, trainable, message) => {
    const port: TrainingPort = {
      data: DATA,
      judge: () => Promise.resolve(0.5),
      scratchPath: '/nowhere',
      dataKey: '',
      monotonicNow: () => 0,
    }
    const recipe = Recipe.parse({
      passes: [{ pass: 'fine-tune', trainable, updates: 2, batch: 4 }],
      runtime: { intraOpThreads: 1 },
    })
    const calibration = { count: 0, batch: () => ({}) }
    const built = buildVariant({ source, recipe, calibration, openSession, training: port, threads: 1, signal })
    await expect(built).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED', message: expect.stringMatching(message) })
    await expect(built).rejects.toThrow(/^pass 1, fine-tune: /)
  })
})

it('moves a weight that two layers read once, by both of their gradients', async () => {
  const square = randomValues(16, 3)
  const constants = [floatTensor('u', [4, 4], square), randomTensor('v', [4, 3], 2)]
  const shared = net(
    [op('MatMul', 'x u -> a'), op('Tanh', 'a -> b'), op('MatMul', 'b u -> c'), op('Gemm', 'c v -> y')],
    constants,
  )
  const apart = net(
    [op('MatMul', 'x u -> a'), op('Tanh', 'a -> b'), op('MatMul', 'b w -> c'), op('Gemm', 'c v -> y')],
    [...constants, floatTensor('w', [4, 4], square)],
  )
  // What is judged best is the last.
  const judged = { judge: countingUp(), data: DATA }
  const optimizer = { kind: 'sgd', momentum: 0, weightDecay: 0 } as const
  const plan = {
    ...SMALL_PLAN,
    optimizer,
    schedule: { kind: 'constant', warmUpSteps: 0 },
    batch: COUNT,
    updates: 1,
  } as const
  const weightsOf = async (model: Model) => {
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    return (await train(trainee, plan, await portsOf(judged), signal)).weights
  }
  const [one, two] = [await weightsOf(shared), await weightsOf(apart)]
  expect([...one.keys()]).toEqual(['u', 'v'])
  const moved = (name: string, weights: typeof one, at: number) =>
    (weights.get(name)?.[at] ?? Number.NaN) - (square[at] ?? 0)
  for (const at of square.keys()) {
    expect(moved('u', one, at)).toBeCloseTo(moved('u', two, at) + moved('w', two, at), 5)
  }
  expect(square.some((_, at) => Math.abs(moved('w', two, at)) > 1e-3)).toBe(true)
})

function countingUp(): () => Promise<number> {
  let score = 0
  return () => {
    score += 1
    return Promise.resolve(score)
  }
}
