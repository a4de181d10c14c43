import { encodeModel, indexGraph, inferShapes, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { liftOpset } from '../../../../../agent/compress/lift-opset/lift-opset.ts'
import type { FeedTensor } from '../../../../../agent/compress/runtime-port.ts'
import { simplify } from '../../../../../agent/compress/simplify.ts'
import type { TrainingPlan } from '../../../../../agent/compress/train/plan.ts'
import { type Numbers, openStep } from '../../../../../agent/compress/train/run-step.ts'
import { withBatch } from '../../../../../agent/compress/train/step/batch-size.ts'
import { buildStep, type StepRequest, scoresOf } from '../../../../../agent/compress/train/step/build-step.ts'
import { trainableWeights } from '../../../../../agent/compress/train/trainable.ts'
import { startOfTraining } from '../../../../../agent/compress/train/training-state.ts'
import { modelOf, op, randomTensor, randomValues } from '../../support/graphs.ts'
import { demoModel } from '../../support/real-models.ts'
import { openSession } from '../../support/runtime.ts'
import { smallNetwork } from '../../support/small-network.ts'
import { SMALL_PLAN } from '../support/breast-cancer-training.ts'
import { gradientModel } from '../support/gradient-model.ts'

const BATCH = 2
const PLAIN: TrainingPlan = { ...SMALL_PLAN, batch: BATCH, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } }
const LOSS = { kind: 'mean-squared-error' } as const

interface Stepped {
  readonly before: Numbers
  readonly after: Numbers
  readonly gradientNorm: number
}

/** One update at rate 1 towards zero in every output. */
async function stepped(model: Model, feeds: Record<string, FeedTensor>, request: Partial<StepRequest> = {}) {
  const scope = request.trainable ?? trainableWeights(model, { kind: 'all' })
  const step = buildStep({ model, batch: BATCH, trainable: scope, loss: LOSS, optimizer: PLAIN.optimizer, ...request })
  const { carried } = await startOfTraining(model, step, PLAIN, () => Promise.resolve(0))
  const outputs = step.inputs.find(({ name }) => name.endsWith('labels'))?.dims ?? []
  const count = outputs.reduce((product, dim) => product * dim, 1)
  const runner = await openStep(step, PLAIN, {
    data: {
      count: BATCH,
      hasLabels: true,
      feeds: () => Promise.resolve(feeds),
      labels: () => Promise.resolve(new Float64Array(count)),
    },
    openSession,
    threads: 1,
  })
  try {
    const updated = await runner.update(carried, [[0, 1]], { updateOfOptimizer: 1, rate: 1 })
    return { before: carried, after: updated.carried, gradientNorm: updated.gradientNorm } satisfies Stepped
  } finally {
    await runner.release()
  }
}

/** Gradients of the same loss by the model as it is, every convolution a convolution. */
async function gradientsOf(model: Model, feeds: Record<string, FeedTensor>, names: readonly string[]) {
  const bound = withBatch(liftOpset(model, 17), BATCH)
  const output = bound.graph.outputs[0]?.name ?? ''
  const dims = (indexGraph(inferShapes(bound).graph).shapeOf(output) ?? []).map(Number)
  const forward = await openSession(encodeModel(bound), { graphOptimization: 'disabled', threads: 1 })
  const values = Float32Array.from((await forward.run(feeds))[output]?.data ?? [], Number)
  await forward.release()
  const seed = values.map((value) => (2 * value) / values.length)
  const { model: derived, gradients } = gradientModel(bound, { seeds: [output], targets: names })
  const session = await openSession(encodeModel(derived), { graphOptimization: 'disabled', threads: 1 })
  try {
    const given = { ...feeds, [`seed/${output}`]: { type: 'float32', dims, data: seed } as const }
    const results = await session.run(given)
    return new Map([...gradients].map(([name, value]) => [name, Float32Array.from(results[value]?.data ?? [], Number)]))
  } finally {
    await session.release()
  }
}

function pictures(dims: readonly number[]): FeedTensor {
  const count = dims.reduce((product, dim) => product * dim, 1)
  return { type: 'float32', dims, data: randomValues(count, 1) }
}

function expectMoved({ before, after }: Stepped, gradients: ReadonlyMap<string, Float32Array>): void {
  expect(gradients.size).toBe(before.size)
  for (const [name, gradient] of gradients) {
    const moved = before.get(name)?.map((value, at) => value - (after.get(name)?.[at] ?? Number.NaN))
    const length = Math.hypot(...gradient)
    expect(length, name).toBeGreaterThan(0)
    // float32 holds a weight, and so its difference, to 2⁻²³ of it.
    const rounding = 1e-7 * Math.hypot(...(before.get(name) ?? []))
    const error = Math.hypot(...gradient.map((value, at) => value - (moved?.[at] ?? Number.NaN)))
    // An activation that lies on a kink may fall to the other side when sums are taken in another order.
    expect(error, name).toBeLessThan(0.01 * length + rounding)
  }
}

describe('a step', () => {
  it('of plain descent moves the weights of a convolutional net by their gradients', async () => {
    const model = smallNetwork({ dims: ['n', 4, 8, 8] })
    const feeds = { x: pictures([BATCH, 4, 8, 8]) }
    const moved = await stepped(model, feeds)
    expectMoved(moved, await gradientsOf(model, feeds, [...moved.before.keys()]))
  })

  it('does so for a real one with pointwise and depthwise convolutions', async () => {
    const model = simplify(demoModel('fashion-mobilenetv2'))
    const [input = { name: '' }] = model.graph.inputs
    const type = 'type' in input ? input.type : undefined
    const shape = type?.kind === 'tensor' ? (type.shape ?? []) : []
    const feeds = { [input.name]: pictures([BATCH, ...shape.slice(1).map(Number)]) }
    const moved = await stepped(model, feeds)
    expectMoved(moved, await gradientsOf(model, feeds, [...moved.before.keys()]))
  })

  it('is cut down together to the largest norm', async () => {
    const model = smallNetwork({ dims: ['n', 4, 8, 8] })
    const feeds = { x: pictures([BATCH, 4, 8, 8]) }
    const length = ({ before, after }: Stepped): number =>
      Math.hypot(
        ...[...before].flatMap(([name, values]) => [...values.map((v, at) => v - (after.get(name)?.[at] ?? 0))]),
      )
    const free = await stepped(model, feeds)
    expect(length(free)).toBeCloseTo(free.gradientNorm, 3)
    const maxGradientNorm = free.gradientNorm / 10
    expect(length(await stepped(model, feeds, { maxGradientNorm })) / maxGradientNorm).toBeCloseTo(1, 2)
  })

  it('changes nothing outside its scope', async () => {
    const model = smallNetwork({ dims: ['n', 4, 8, 8] })
    const feeds = { x: pictures([BATCH, 4, 8, 8]) }
    for (const scope of [{ kind: 'last-layers', layers: 1 }, { kind: 'biases-and-norms' }] as const) {
      const trainable = trainableWeights(model, scope)
      const { before, after } = await stepped(model, feeds, { trainable })
      expect([...after.keys()]).toEqual(trainable.map(({ name }) => name))
      for (const [name, values] of after) expect(values).not.toEqual(before.get(name))
    }
  })
})

describe('the scores', () => {
  const behind = (...nodes: Parameters<typeof op>[1][]) =>
    modelOf({
      inputs: { x: [2, 3] },
      outputs: ['y'],
      nodes: nodes.map((signature) => {
        const [opType = '', rest = ''] = signature.split(': ')
        return op(opType, rest)
      }),
      constants: [randomTensor('w', [3, 3], 1)],
    }).graph

  it('are what is squashed in the end, also where it is handed on', () => {
    const kind = 'cross-entropy'
    expect(scoresOf(behind('MatMul: x w -> s', 'Softmax: s -> y'), { kind })).toBe('s')
    expect(scoresOf(behind('MatMul: x w -> s', 'Softmax: s -> p', 'Identity: p -> y'), { kind })).toBe('s')
    expect(scoresOf(behind('MatMul: x w -> s', 'Softmax: s -> p', 'Flatten: p -> f', 'Cast: f -> y'), { kind })).toBe(
      's',
    )
    expect(scoresOf(behind('MatMul: x w -> s', 'Sigmoid: s -> p', 'Squeeze: p -> y'), { kind })).toBe('y')
    expect(scoresOf(behind('MatMul: x w -> s', 'Identity: s -> y'), { kind })).toBe('y')
  })
})

describe('the batch', () => {
  const model = (inputs: Record<string, readonly (number | string)[]>) =>
    modelOf({ inputs, outputs: ['y'], nodes: [op('Add', `${Object.keys(inputs).join(' ')} -> y`)] })

  it('is bound in every input', () => {
    const { graph } = withBatch(model({ a: ['n', 3], b: [4, 3] }), 4)
    const index = indexGraph(graph)
    expect(['a', 'b', 'y'].map((name) => index.shapeOf(name))).toEqual(Array(3).fill([4, 3]))
  })

  it.each<[string, Record<string, readonly (number | string)[]>, string, string]>([
    ['a single number', { a: ['n', 3], b: [] }, 'MODEL_UNSUPPORTED', 'single number'],
    ['first lengths that differ', { a: [1, 3], b: [5, 3] }, 'MODEL_UNSUPPORTED', 'no batch axis in common'],
    ['another fixed batch', { a: [1, 3], b: ['n', 3] }, 'RECIPE_INVALID', 'set "batch" to 1'],
    ['another open length', { a: ['n', 'm'], b: ['n', 3] }, 'MODEL_UNSUPPORTED', '"m"'],
  ])('is refused for %s', (_, inputs, code, words) => {
    expect(() => withBatch(model(inputs), 4)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(words) }),
    )
  })
})
