import { type GraphEditor, int64Tensor, intValue, node } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { OutputTensor } from '../runtime-port.ts'

/** Names of the graph outputs that sum up tensors: three floats each, and the number of elements of each. */
export interface Extremes {
  readonly tensors: readonly string[]
  readonly floats: string
  readonly sizes: string
}

export interface Observed {
  readonly range: Interval
  /** Elements. */
  readonly size: number
  /** The sum of all magnitudes. */
  readonly magnitude: number
}

const FLOATS = ['ReduceMin', 'ReduceMax', 'ReduceL1'] as const

/**
 * Adds the nodes that reduce `tensors` to a few numbers each, so that no activation leaves the runtime, and gather those
 * in two outputs: an output costs as much time as a small operator.
 */
export function addExtremes(editor: GraphEditor, tensors: readonly string[]): Extremes {
  const flatShape = editor.freshName('extremes/shape')
  editor.setInitializer(int64Tensor(flatShape, [1], [-1]))
  const add = (opType: string, inputs: readonly string[], attributes = {}): string => {
    const output = editor.freshName(`${inputs[0]}/${opType}`)
    editor.add(node({ opType, inputs, outputs: [output], attributes }))
    return output
  }
  const flat = (value: string): string => add('Reshape', [value, flatShape])
  const floats: string[] = []
  const sizes: string[] = []
  for (const tensor of tensors) {
    const values = flat(tensor)
    for (const opType of FLOATS) floats.push(add(opType, [values], { keepdims: intValue(1) }))
    sizes.push(flat(add('Size', [values])))
  }
  const join = (parts: readonly string[]): string => add('Concat', parts, { axis: intValue(0) })
  return { tensors, floats: join(floats), sizes: join(sizes) }
}

/** Reads what {@link addExtremes} computed, by tensor. `undefined` for one that held a NaN or an infinity. */
export function readExtremes(
  { tensors, floats, sizes }: Extremes,
  outputs: Readonly<Record<string, OutputTensor>>,
): ReadonlyMap<string, Observed | undefined> {
  const found = (name: string, at: number): number => Number(outputs[name]?.data[at])
  return new Map(
    tensors.map((tensor, index) => {
      const [min = 0, max = 0, magnitude = 0] = FLOATS.map((_, at) => found(floats, index * FLOATS.length + at))
      // Comparing reductions may lose a NaN, adding ones cannot.
      const finite = [min, max, magnitude].every(Number.isFinite)
      return [tensor, finite ? { range: { min, max }, size: found(sizes, index), magnitude } : undefined]
    }),
  )
}

/** The smallest interval that holds both. */
export function union(a: Interval, b: Interval): Interval {
  return { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) }
}

/** Moves both ends of an interval by `constant`, 0 to 1, of the way to those of a new one. */
export function movingAverage(constant: number): (before: Interval, now: Interval) => Interval {
  const move = (from: number, to: number): number => Math.fround(from + constant * (to - from))
  return (before, now) => ({ min: move(before.min, now.min), max: move(before.max, now.max) })
}
