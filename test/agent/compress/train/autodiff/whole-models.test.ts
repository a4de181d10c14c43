import {
  asFloat32,
  elementCount,
  encodeModel,
  floatTensor,
  type Graph,
  indexGraph,
  type Model,
  type Tensor,
} from '@edgefit/shared/onnx'
import { type Random, seededRandom, shuffled } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import { foldConstants } from '../../../../../agent/compress/fold-constants.ts'
import { liftOpset } from '../../../../../agent/compress/lift-opset/lift-opset.ts'
import type { FeedTensor, OutputTensor } from '../../../../../agent/compress/runtime-port.ts'
import { withBatch } from '../../../../../agent/compress/train/step/batch-size.ts'
import { scoresOf } from '../../../../../agent/compress/train/step/build-step.ts'
import { trainableWeights } from '../../../../../agent/compress/train/trainable.ts'
import { valueInfo } from '../../support/graphs.ts'
import { breastCancerModel, demoModel, hasSharedModels, sharedModel } from '../../support/real-models.ts'
import { openSession, run } from '../../support/runtime.ts'
import { gradientModel } from '../support/gradient-model.ts'

interface Subject {
  readonly model: () => Model
  readonly batch: number
  /** Given weights in place of those of the file, which are all equal. */
  readonly reweighted?: true
  /** Default: all. */
  readonly lastLayers?: number
}

const own: Readonly<Record<string, Subject>> = {
  'breast-cancer MLP': { model: breastCancerModel, batch: 4 },
  'ResNet-14': { model: () => demoModel('fashion-resnet14'), batch: 2 },
  MobileNetV2: { model: () => demoModel('fashion-mobilenetv2'), batch: 2 },
}
const shared: Readonly<Record<string, Subject>> = {
  'intent transformer': { model: () => sharedModel('clinc150_transformer/model.onnx'), batch: 2 },
  'DS-CNN': { model: () => sharedModel('mlperf_kws_dscnn/model.onnx'), batch: 2 },
  ShuffleNet: { model: () => sharedModel('onnx_light/light_shufflenet.onnx'), batch: 1, reweighted: true },
  'DenseNet-121': {
    model: () => withImages(sharedModel('onnx_light/light_densenet121.onnx'), 32),
    batch: 2,
    reweighted: true,
    lastLayers: 40,
  },
}

/** Tensors of which each is moved alone, along its own gradient. */
const SINGLE_TENSORS = 4
/**
 * How far the loss is moved, relative to its size: above the rounding of float32, and past few kinks. The median of the
 * three differences counts, since a kink may still be met.
 */
const STEPS = [1e-4, 2e-4, 4e-4]
/** Largest error of a derivative, relative to what one along such a direction may be expected to be. */
const TOLERANCE = { uphill: 1e-2, random: 2e-2 }

describe('the gradient by weights agrees with differences', () => {
  it.each(Object.entries(own))('%s', async (_, subject) => expectWeightGradients(subject))
})

describe.skipIf(!hasSharedModels)('the gradient by weights of shared models agrees with differences', () => {
  it.each(Object.entries(shared))('%s', async (_, subject) => expectWeightGradients(subject), 240_000)
})

/** By weight. */
type Values = ReadonlyMap<string, Float32Array>

async function expectWeightGradients({ model, batch, reweighted, lastLayers }: Subject): Promise<void> {
  const random = seededRandom(5)
  const folded = withBatch(foldConstants(liftOpset(model(), 17)).model, batch)
  const forward = reweighted ? withRandomWeights(folded, random) : folded
  const output = scoresOf(forward.graph, { kind: 'cross-entropy' })
  const scope =
    lastLayers === undefined ? ({ kind: 'all' } as const) : ({ kind: 'last-layers', layers: lastLayers } as const)
  const weights = trainableWeights(forward, scope).flatMap(({ name }) => forward.graph.initializers.get(name) ?? [])
  const opened = withFedWeights(forward, weights, output)
  const inputs = Object.fromEntries(
    forward.graph.inputs.map(({ name }) => [name, feedFor(forward.graph, name, random)]),
  )
  const dims = (indexGraph(forward.graph).shapeOf(output) ?? []).map(Number)
  const seed: FeedTensor = {
    type: 'float32',
    dims,
    data: Float32Array.from({ length: elementCount(dims) }, () => gaussian(random)),
  }
  const at: Values = new Map(weights.map((tensor) => [tensor.name, asFloat32(tensor)]))
  const gradients = await gradientsOf(opened, weights, { ...inputs, ...feedsOf(weights, at) }, { output, seed })

  const session = await openSession(encodeModel(opened), { graphOptimization: 'all', threads: 1 })
  /** The loss is the sum of these. */
  const products = async (values: Values): Promise<Float32Array> => {
    const outputs = await session.run({ ...inputs, ...feedsOf(weights, values) })
    return floatsOf(outputs[output]).map((value, i) => value * Number(seed.data[i]))
  }
  try {
    const size = norm(await products(at))
    let checked = 0
    for (const { name, direction, signal, tolerance } of directions(at, gradients, random)) {
      // The loss does not depend on some weights, such as a bias that Softmax takes out again.
      if (signal < 1e-3 * size) continue
      const slopes: number[] = []
      for (const step of STEPS) {
        const distance = (step * size) / signal
        const low = await products(moved(at, direction, -distance))
        const high = await products(moved(at, direction, distance))
        slopes.push(high.reduce((sum, value, i) => sum + value - (low[i] ?? 0), 0) / (2 * distance))
      }
      const expected = slopes.toSorted((left, right) => left - right)[1] ?? Number.NaN
      const actual = [...direction].reduce((sum, [weight, values]) => sum + dot(values, gradients.get(weight)), 0)
      const error = Math.abs(actual - expected) / signal
      expect(error, `${name}: ${actual}, by differences ${expected}`).toBeLessThan(tolerance)
      checked += 1
    }
    expect(checked).toBeGreaterThan(2)
  } finally {
    await session.release()
  }
}

interface Direction {
  readonly name: string
  readonly direction: Values
  /** How large a derivative along it may be expected to be. */
  readonly signal: number
  readonly tolerance: number
}

/** Elements move in proportion to the size of their tensor. */
function* directions(at: Values, gradients: Values, random: Random): Generator<Direction> {
  const sizes = new Map([...at].map(([name, values]) => [name, norm(values) / Math.sqrt(values.length)]))
  const all = (element: (gradient: number) => number): Values =>
    new Map([...gradients].map(([name, values]) => [name, values.map((g) => element(g) * (sizes.get(name) ?? 0))]))
  const spread = Math.hypot(...[...gradients].map(([name, values]) => norm(values) * (sizes.get(name) ?? 0)))
  yield { name: 'at random', direction: all(() => gaussian(random)), signal: spread, tolerance: TOLERANCE.random }
  const uphill = all((gradient) => random() * Math.sign(gradient))
  const slope = [...uphill].reduce((sum, [name, values]) => sum + dot(values, gradients.get(name)), 0)
  yield { name: 'uphill', direction: uphill, signal: slope, tolerance: TOLERANCE.uphill }
  for (const [name, gradient] of shuffled(gradients, random).slice(0, SINGLE_TENSORS)) {
    const factor = norm(at.get(name)) / (norm(gradient) || 1)
    const direction = new Map([[name, gradient.map((value) => value * factor)]])
    yield {
      name: `uphill in ${name}`,
      direction,
      signal: norm(gradient) * norm(at.get(name)),
      tolerance: TOLERANCE.uphill,
    }
  }
}

function moved(at: Values, direction: Values, distance: number): Values {
  return new Map(
    [...at].map(([name, values]) => {
      const along = direction.get(name)
      return [name, along === undefined ? values : values.map((value, i) => value + distance * (along[i] ?? 0))]
    }),
  )
}

async function gradientsOf(
  model: Model,
  weights: readonly Tensor[],
  feeds: Readonly<Record<string, FeedTensor>>,
  { output, seed }: { readonly output: string; readonly seed: FeedTensor },
): Promise<Values> {
  const targets = weights.map(({ name }) => name)
  const { model: derived, gradients, missing } = gradientModel(model, { seeds: [output], targets })
  expect(missing).toEqual(new Map())
  const read = new Set(derived.graph.inputs.map(({ name }) => name))
  const given = Object.entries({ ...feeds, [`seed/${output}`]: seed }).filter(([name]) => read.has(name))
  const found = await run(derived, Object.fromEntries(given))
  return new Map([...gradients].map(([name, gradient]) => [name, floatsOf(found[gradient])]))
}

function withFedWeights(model: Model, weights: readonly Tensor[], output: string): Model {
  const initializers = new Map(model.graph.initializers)
  for (const { name } of weights) initializers.delete(name)
  const inputs = [...model.graph.inputs, ...weights.map(({ name, dims }) => valueInfo(name, dims))]
  return { ...model, graph: { ...model.graph, inputs, initializers, outputs: [{ name: output }] } }
}

function withRandomWeights(model: Model, random: Random): Model {
  const index = indexGraph(model.graph)
  const initializers = [...model.graph.initializers].map(([name, tensor]): [string, Tensor] => {
    const [use] = index.consumers(name)
    if (tensor.dataType !== 'FLOAT' || use === undefined) return [name, tensor]
    const isKernel = tensor.dims.length > 1 && use.input === 1 && ['Conv', 'Gemm'].includes(use.node.opType)
    const isFactor =
      use.node.opType === 'Mul' || (use.node.opType === 'BatchNormalization' && [1, 4].includes(use.input ?? 0))
    const fanIn = elementCount(tensor.dims) / (tensor.dims[0] ?? 1)
    const next = isKernel
      ? () => gaussian(random) * Math.sqrt(1 / fanIn)
      : isFactor
        ? () => 0.7 + 0.6 * random()
        : () => 0.1 * gaussian(random)
    return [name, floatTensor(name, tensor.dims, Float32Array.from({ length: elementCount(tensor.dims) }, next))]
  })
  return { ...model, graph: { ...model.graph, initializers: new Map(initializers) } }
}

function feedFor(graph: Graph, name: string, random: Random): FeedTensor {
  const type = indexGraph(graph).typeOf(name)
  const dims = (type?.shape ?? []).map(Number)
  const count = elementCount(dims)
  if (type?.dataType !== 'INT64') {
    return { type: 'float32', dims, data: Float32Array.from({ length: count }, () => gaussian(random)) }
  }
  return {
    type: 'int64',
    dims,
    data: BigInt64Array.from({ length: count }, (_, at) => BigInt(at % 32 < 20 ? Math.floor(2 + random() * 40) : 0)),
  }
}

function feedsOf(weights: readonly Tensor[], values: Values): Readonly<Record<string, FeedTensor>> {
  return Object.fromEntries(
    weights.map(({ name, dims }) => [name, { type: 'float32', dims, data: values.get(name) ?? new Float32Array() }]),
  )
}

function withImages(model: Model, side: number): Model {
  const inputs = model.graph.inputs.map((input) =>
    model.graph.initializers.has(input.name) ? input : valueInfo(input.name, ['batch', 3, side, side]),
  )
  return { ...model, graph: { ...model.graph, inputs } }
}

function floatsOf(tensor: OutputTensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data
  throw new RangeError('a float32 output is missing')
}

function dot(left: Float32Array, right: Float32Array | undefined): number {
  let sum = 0
  for (const [at, value] of left.entries()) sum += value * (right?.[at] ?? 0)
  return sum
}

function norm(values: Float32Array | undefined): number {
  return values === undefined ? 0 : Math.sqrt(dot(values, values))
}

/** Box and Muller. */
function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
