import {
  asFloat32,
  elementCount,
  encodeModel,
  floatTensor,
  indexGraph,
  inferShapes,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { seededRandom, shuffled } from '@edgefit/shared/stats'
import { expect } from 'vitest'
import type { FeedTensor, OutputTensor } from '../../../../../agent/compress/runtime-port.ts'
import type { BackwardRequest } from '../../../../../agent/compress/train/autodiff/backward.ts'
import { modelOf } from '../../support/graphs.ts'
import { openSession } from '../../support/runtime.ts'
import { gradientModel } from './gradient-model.ts'

/** One small graph whose gradients are checked. */
export interface GradientCase {
  readonly nodes: readonly Node[]
  /** Float inputs by name: a shape filled by {@link spread}, or values. */
  readonly inputs: Readonly<Record<string, readonly number[] | Tensor>>
  readonly constants?: readonly Tensor[]
  /** Inputs whose gradients are checked. Default: all of them. */
  readonly by?: readonly string[]
  /** Default: the outputs of the last node. */
  readonly outputs?: readonly string[]
  readonly opset?: number
  /** Largest error allowed, relative to the largest element of the gradient. */
  readonly tolerance?: number
  /** How far an element is moved; twice this must not cross a kink. */
  readonly step?: number
  /** Default: those of the product. */
  readonly rules?: BackwardRequest['rules']
}

/** Of an input, this many elements are moved; the others' gradients are only computed. */
const CHECKED_ELEMENTS = 48
/** Gradients whose every element is below this count as zero. */
const ZERO = 1e-3

/**
 * Checks the gradients of a graph against differences of what the real runtime computes.
 *
 * The loss is the sum of all output elements times fixed weights of both signs. Each derivative is a difference over five
 * points, whose error falls with the fourth power of the step: the step may then be so long that the rounding of float32
 * does not matter. Sums are in float64.
 *
 * @returns the gradients, for further checks
 */
export async function expectGradients({
  nodes,
  constants = [],
  tolerance = 1e-3,
  step = 0.02,
  ...given
}: GradientCase): Promise<Readonly<Record<string, OutputTensor>>> {
  const inputs = Object.entries(given.inputs).map(([name, input], at) =>
    'data' in input ? { ...input, name } : spread(name, input, at + 1),
  )
  const outputs = given.outputs ?? (nodes.at(-1)?.outputs ?? []).filter((name) => name !== '')
  const model = modelOf({
    inputs: Object.fromEntries(inputs.map(({ name, dims }) => [name, dims])),
    outputs,
    nodes,
    constants,
    ...(given.opset === undefined ? {} : { opset: given.opset }),
  })
  const seeds = outputWeights(model, outputs)
  const targets = given.by ?? inputs.map(({ name }) => name)
  const gradients = await computeGradients(model, { targets, inputs, seeds, rules: given.rules })

  const session = await openSession(encodeModel(model), { graphOptimization: 'disabled', threads: 1 })
  try {
    for (const input of inputs.filter(({ name }) => targets.includes(name))) {
      const values = Float32Array.from(asFloat32(input))
      const feeds = { ...feedsOf(inputs), [input.name]: { type: 'float32' as const, dims: input.dims, data: values } }
      const lossAt = async (at: number, value: number): Promise<number> => {
        const before = values[at] ?? 0
        values[at] = value
        const loss = weightedSum(await session.run(feeds), seeds)
        values[at] = before
        return loss
      }
      const checked = shuffled(values.keys(), seededRandom(7)).slice(0, CHECKED_ELEMENTS)
      const expected = new Map<number, number>()
      for (const at of checked) expected.set(at, await derivative((value) => lossAt(at, value), values[at] ?? 0, step))
      expectClose(input, gradients[input.name], expected, tolerance)
    }
  } finally {
    await session.release()
  }
  return gradients
}

interface ComputeOptions {
  readonly targets: readonly string[]
  readonly inputs: readonly Tensor[]
  readonly seeds: Readonly<Record<string, FeedTensor>>
  readonly rules: BackwardRequest['rules'] | undefined
}

async function computeGradients(
  model: Model,
  { targets, inputs, seeds, rules }: ComputeOptions,
): Promise<Readonly<Record<string, OutputTensor>>> {
  const {
    model: derived,
    gradients,
    missing,
  } = gradientModel(model, {
    seeds: Object.keys(seeds),
    targets,
    ...(rules === undefined ? {} : { rules }),
  })
  expect(Object.fromEntries(missing), 'targets without a gradient').toEqual({})
  const feeds = { ...feedsOf(inputs), ...Object.fromEntries(Object.entries(seeds).map(([k, v]) => [`seed/${k}`, v])) }
  const read = new Set(derived.graph.inputs.map(({ name }) => name))
  const session = await openSession(encodeModel(derived), { graphOptimization: 'all', threads: 1 })
  try {
    const outputs = await session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => read.has(name))))
    return Object.fromEntries(
      [...gradients].flatMap(([target, name]) => (outputs[name] ? [[target, outputs[name]]] : [])),
    )
  } finally {
    await session.release()
  }
}

function expectClose(
  { name, dims }: Tensor,
  gradient: OutputTensor | undefined,
  expected: ReadonlyMap<number, number>,
  tolerance: number,
): void {
  expect(gradient?.dims, `shape of the gradient by "${name}"`).toEqual(dims)
  const scale = Math.max(ZERO, ...[...expected.values()].map(Math.abs))
  for (const [at, value] of expected) {
    const error = Math.abs(Number(gradient?.data[at]) - value) / scale
    expect(error, `d/d${name}[${at}] is ${gradient?.data[at]}, by differences ${value}`).toBeLessThan(tolerance)
  }
}

/** Five-point stencil, on the points that float32 has. */
async function derivative(f: (value: number) => Promise<number>, at: number, step: number): Promise<number> {
  const slope = async (distance: number): Promise<number> => {
    const [low, high] = [Math.fround(at - distance), Math.fround(at + distance)]
    return ((await f(high)) - (await f(low))) / (high - low)
  }
  return (4 * (await slope(step)) - (await slope(2 * step))) / 3
}

/** By output: weights between 0.5 and 1.5 of either sign, so that neither errors nor the sums of a Softmax cancel. */
function outputWeights(model: Model, outputs: readonly string[]): Readonly<Record<string, FeedTensor>> {
  const index = indexGraph(inferShapes(model).graph)
  const random = seededRandom(3)
  return Object.fromEntries(
    outputs.map((name) => {
      const dims = (index.shapeOf(name) ?? []).map(Number)
      const data = Float32Array.from({ length: elementCount(dims) }, () => (0.5 + random()) * (random() < 0.5 ? -1 : 1))
      return [name, { type: 'float32', dims, data }]
    }),
  )
}

function weightedSum(
  outputs: Readonly<Record<string, OutputTensor>>,
  weights: Readonly<Record<string, FeedTensor>>,
): number {
  let sum = 0
  for (const [name, { data }] of Object.entries(weights)) {
    const values = outputs[name]?.data
    for (let at = 0; at < data.length; at++) sum += Number(data[at]) * Number(values?.[at])
  }
  return sum
}

function feedsOf(tensors: readonly Tensor[]): Readonly<Record<string, FeedTensor>> {
  return Object.fromEntries(
    tensors.map((tensor) => [tensor.name, { type: 'float32', dims: tensor.dims, data: asFloat32(tensor) }]),
  )
}

/**
 * Evenly spaced values around `center` in random order: no two are equal, and none is nearer to `center` than a quarter of the
 * space between two. So neither ties nor a kink there are met.
 */
export function spread(
  name: string,
  dims: readonly number[],
  seed: number,
  { center = 0, width = Math.max(3, elementCount(dims) * 0.2) }: { center?: number; width?: number } = {},
): Tensor {
  const count = elementCount(dims)
  const places = shuffled(Array(count).keys(), seededRandom(seed))
  return floatTensor(
    name,
    dims,
    Float32Array.from(places, (place) => center + ((place + 0.75) / count - 0.5) * width),
  )
}
