import {
  type Attribute,
  encodeModel,
  type Graph,
  inferShapes,
  intsValue,
  intValue,
  type Model,
  operatorHistogram,
} from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { FeedTensor, OutputTensor } from '../../../../../agent/compress/runtime-port.ts'
import { createEmitter } from '../../../../../agent/compress/train/autodiff/emitter.ts'
import {
  type Correlation,
  correlationOf,
} from '../../../../../agent/compress/train/autodiff/rules/convolution-geometry.ts'
import { withBatch } from '../../../../../agent/compress/train/step/batch-size.ts'
import { layOutForProducts } from '../../../../../agent/compress/train/step/layout-for-products.ts'
import { BATCH_MAJOR, moved, PLACE_MAJOR } from '../../../../../agent/compress/train/step/layouts.ts'
import { axisAlgorithms } from '../../../../../agent/compress/train/step/minimal-products.ts'
import { bestTiling, tiledConvolution } from '../../../../../agent/compress/train/step/tiled-convolution.ts'
import { modelOf, op, randomTensor, randomValues } from '../../support/graphs.ts'
import { batchOf, demoModel, fashionMnist } from '../../support/real-models.ts'
import { openSession } from '../../support/runtime.ts'
import { gradientModel } from '../support/gradient-model.ts'

const BATCH = 16

interface Case {
  readonly name: string
  readonly x: readonly number[]
  readonly w: readonly number[]
  readonly attributes?: Readonly<Record<string, Attribute>>
}

const pads = (...values: number[]) => ({ pads: intsValue(values) })
const strides = (...values: number[]) => ({ strides: intsValue(values) })

const cases: readonly Case[] = [
  { name: '3x3', x: [2, 3, 9, 8], w: [4, 3, 3, 3], attributes: pads(1, 1, 1, 1) },
  { name: '3x3 without padding', x: [2, 3, 9, 8], w: [4, 3, 3, 3] },
  { name: 'strides', x: [2, 3, 9, 8], w: [4, 3, 3, 3], attributes: { ...strides(2, 2), ...pads(1, 1, 1, 1) } },
  {
    name: 'an uneven kernel with uneven pads and strides',
    x: [1, 2, 10, 11],
    w: [3, 2, 5, 2],
    attributes: { ...strides(1, 3), ...pads(0, 2, 3, 1) },
  },
  { name: 'pointwise with strides', x: [2, 3, 7, 6], w: [4, 3, 1, 1], attributes: strides(2, 2) },
]

describe('a convolution in tiles', () => {
  it.each(cases)('is the same as $name, whatever their size', async ({ x, w, attributes }) => {
    const model = convolution(x, w, attributes)
    const geometry = geometryOf(model, x, w)
    const longest = Math.max(...[0, 1].map((axis) => algorithmsOf(geometry, axis).length))

    const [expected] = await outputsOf(model, x)
    for (let size = 0; size < longest; size++) {
      const [actual] = await outputsOf(inTiles(model, geometry, size), x)
      expect(actual?.dims).toEqual(expected?.dims)
      expect(largestDifference(actual, expected), `tiles of ${size + 1}`).toBeLessThan(2e-5)
    }
  })

  it.each<[string, readonly number[], Record<string, Attribute>]>([
    ['3x3', [32, 32, 3, 3], pads(1, 1, 1, 1)],
    ['strides', [64, 32, 3, 3], { ...strides(2, 2), ...pads(1, 1, 1, 1) }],
  ])('has the gradients of %s', async (_, w, attributes) => {
    const x = [2, 32, 14, 14]
    const forward = modelOf({
      inputs: { x, w: [32, 32, 3, 3], v: w },
      outputs: ['y'],
      nodes: [op('Conv', 'x w -> a', pads(1, 1, 1, 1)), op('Conv', 'a v -> y', attributes)],
    })
    const tiled = layOutForProducts(inferShapes(forward))
    expect(operatorHistogram(tiled).get('Conv') ?? 0).toBeLessThan(2)

    const [expected, actual] = [await gradientsOf(forward), await gradientsOf(tiled)]

    for (const [at, gradient] of expected.entries()) {
      const largest = Math.max(...Array.from(gradient.data, Number).map(Math.abs))
      expect(actual[at]?.dims).toEqual(gradient.dims)
      expect(largestDifference(actual[at], gradient) / largest).toBeLessThan(2e-5)
    }
  })
})

describe('a real network with convolutions in tiles', () => {
  it('has the gradients that it has without', async () => {
    const forward = withBatch(demoModel('fashion-resnet14'), BATCH)
    const images = fashionMnist()
    const targets = [...forward.graph.initializers.values()]
      .filter(({ dims }) => dims.length === 4)
      .map(({ name }) => name)
    const tiled = layOutForProducts(forward)
    const count = (model: Model): number => operatorHistogram(model).get('Conv') ?? 0
    expect(count(tiled)).toBeLessThanOrEqual(count(forward) - 6)

    const gradients = async (model: Model) => {
      const seeds = model.graph.outputs.map(({ name }) => name)
      const derived = gradientModel(model, { seeds, targets })
      const feeds = {
        ...batchOf(images, 0, BATCH),
        ...Object.fromEntries(seeds.map((name) => [`seed/${name}`, feed([BATCH, 10], 5)])),
      }
      return { ...derived, values: await runOn(derived.model, feeds) }
    }
    const [expected, actual] = [await gradients(forward), await gradients(tiled)]

    expect([...actual.gradients.keys()]).toEqual(targets)
    for (const [at, target] of targets.entries()) {
      const [left, right] = [actual, expected].map(({ values }) => Array.from(values[at]?.data ?? [Number.NaN], Number))
      expect(distance(left ?? [], right ?? []), target).toBeLessThan(1e-3)
    }
  })
})

/** Of two vectors, relative to the length of the second. A number near a kink may fall to either side of it. */
function distance(left: readonly number[], right: readonly number[]): number {
  const length = (vector: readonly number[]): number => Math.sqrt(vector.reduce((sum, value) => sum + value ** 2, 0))
  return length(left.map((value, at) => value - (right[at] ?? Number.NaN))) / length(right)
}

describe('the best tiling', () => {
  const three = pads(1, 1, 1, 1)
  const outputs = (x: readonly number[], w: readonly number[], attributes = {}, isPlaceMajor = false) =>
    bestTiling(geometryOf(convolution(x, w, attributes), x, w), isPlaceMajor)?.rows.outputs

  it.each<[string, number | undefined, readonly number[], readonly number[], Record<string, Attribute>?]>([
    ['many channels, in large tiles', 7, [32, 64, 14, 14], [64, 64, 3, 3]],
    ['few channels, not at all', undefined, [32, 4, 14, 14], [8, 4, 3, 3]],
    ['one channel, not at all', undefined, [32, 1, 28, 28], [16, 1, 3, 3]],
    ['groups, not at all', undefined, [32, 128, 14, 14], [64, 64, 3, 3], { group: intValue(2) }],
    ['dilations, not at all', undefined, [32, 64, 14, 14], [64, 64, 3, 3], { dilations: intsValue([2, 2]) }],
    ['a single axis, not at all', undefined, [32, 64, 14], [64, 64, 3], pads(1, 1)],
  ])('is for %s', (_, expected, x, w, attributes = {}) => {
    expect(outputs(x, w, { ...(w.length === 4 ? three : {}), ...attributes })).toBe(expected)
  })

  it('is smaller where a small batch does not make up for large transformed kernels', () => {
    const attributes = pads(1, 1, 1, 1)
    const [few = 0, many = 0] = [1, 256].map((batch) => outputs([batch, 128, 14, 14], [128, 128, 3, 3], attributes))

    expect(few).toBeLessThan(many)
  })

  it('counts what it costs to change the layout', () => {
    const [x, w] = [
      [32, 64, 14, 14],
      [128, 64, 1, 1],
    ]

    expect(outputs(x, w, strides(2, 2), true)).toBe(1)
    expect(outputs(x, w, strides(2, 2), false)).toBeUndefined()
  })
})

function convolution(x: readonly number[], w: readonly number[], attributes: Readonly<Record<string, Attribute>> = {}) {
  const nodes = [op('Conv', 'x w -> y', attributes)]
  return inferShapes(modelOf({ inputs: { x }, outputs: ['y'], nodes, constants: [randomTensor('w', w, 1)] }))
}

function geometryOf({ graph }: Model, x: readonly number[], w: readonly number[]): Correlation {
  const [conv] = graph.nodes
  const type = graph.outputs[0]?.type
  if (conv === undefined || type?.kind !== 'tensor') throw new RangeError('a model of one convolution')
  const y = (type.shape ?? []).map(Number)
  return correlationOf(conv, (value) => ({ x, w, y })[value] ?? [])
}

function algorithmsOf({ kernel, strides: [row = 1, column = 1] }: Correlation, axis: number) {
  return axisAlgorithms(kernel[axis] ?? 1, axis === 0 ? row : column)
}

/** `model` with its convolution in tiles whose algorithms are at `size`, or the largest there are. */
function inTiles(model: Model, geometry: Correlation, size: number): Model {
  const { batch, channels, filters, large, small } = geometry
  let names = 0
  const { emitter, emitted } = createEmitter(17, (hint) => `${hint}:${names++}`)
  const [rows, columns] = [0, 1].map((axis) => {
    const algorithms = algorithmsOf(geometry, axis)
    const algorithm = algorithms[Math.min(size, algorithms.length - 1)]
    if (algorithm === undefined) throw new RangeError('no algorithm')
    return { ...algorithm, tiles: Math.ceil((small[axis] ?? 1) / algorithm.outputs) }
  })
  if (rows === undefined || columns === undefined) throw new RangeError('two axes')
  const x = moved(emitter, 'x', [batch, channels, ...large], BATCH_MAJOR, PLACE_MAJOR)
  const product = tiledConvolution(emitter, geometry, { rows, columns }, x, 'w')
  const y = moved(emitter, product, [batch, filters, ...small], PLACE_MAJOR, BATCH_MAJOR)
  const { nodes, constants } = emitted()
  const graph: Graph = {
    ...model.graph,
    nodes: [...nodes, op('Identity', `${y} -> y`)],
    initializers: new Map([...model.graph.initializers, ...constants.map((tensor) => [tensor.name, tensor] as const)]),
  }
  return { ...model, graph }
}

function outputsOf(model: Model, x: readonly number[]): Promise<readonly OutputTensor[]> {
  return runOn(model, { x: feed(x, 9) })
}

async function gradientsOf(forward: Model): Promise<readonly OutputTensor[]> {
  const { model, gradients } = gradientModel(forward, { seeds: ['y'], targets: ['x', 'w', 'v'] })
  const feeds = model.graph.inputs.map(({ name, type }, at) => {
    const dims = type?.kind === 'tensor' ? (type.shape ?? []).map(Number) : []
    return [name, feed(dims, at + 1)] as const
  })
  const outputs = await runOn(model, Object.fromEntries(feeds))
  const names = model.graph.outputs.map(({ name }) => name)
  return [...gradients.values()].flatMap((name) => outputs[names.indexOf(name)] ?? [])
}

function feed(dims: readonly number[], seed: number): FeedTensor {
  return {
    type: 'float32',
    dims,
    data: randomValues(
      dims.reduce((product, dim) => product * dim, 1),
      seed,
    ),
  }
}

async function runOn(model: Model, feeds: Readonly<Record<string, FeedTensor>>): Promise<readonly OutputTensor[]> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
  try {
    const outputs = await session.run(feeds)
    return model.graph.outputs.flatMap(({ name }) => outputs[name] ?? [])
  } finally {
    await session.release()
  }
}

function largestDifference(left: OutputTensor | undefined, right: OutputTensor | undefined): number {
  const values = Array.from(left?.data ?? [Number.NaN], Number)
  return Math.max(...values.map((value, at) => Math.abs(value - Number(right?.data[at]))))
}
