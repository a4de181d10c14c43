import { type GraphEditor, intValue, node } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { OutputTensor } from '../runtime-port.ts'

/** Names of the scalar graph outputs that sum up one tensor. */
export interface Extremes {
  readonly tensor: string
  readonly min: string
  readonly max: string
  readonly sumOfMagnitudes: string
  readonly size: string
}

/** Adds the nodes that reduce `tensor` to scalars, so that the activation itself never leaves the runtime. */
export function addExtremes(editor: GraphEditor, tensor: string): Extremes {
  const reduce = (opType: string): string => {
    const output = editor.freshName(`${tensor}/${opType}`)
    const attributes = opType === 'Size' ? {} : { keepdims: intValue(0) }
    editor.add(node({ opType, inputs: [tensor], outputs: [output], attributes }))
    return output
  }
  return {
    tensor,
    min: reduce('ReduceMin'),
    max: reduce('ReduceMax'),
    sumOfMagnitudes: reduce('ReduceL1'),
    size: reduce('Size'),
  }
}

/** Reads what {@link addExtremes} computed. `undefined` when the tensor held a NaN or an infinity. */
export function readExtremes(
  names: Extremes,
  outputs: Readonly<Record<string, OutputTensor>>,
): { readonly range: Interval; readonly size: number } | undefined {
  const scalar = (name: string): number => Number(outputs[name]?.data[0])
  const range = { min: scalar(names.min), max: scalar(names.max) }
  // Comparing reductions may lose a NaN, adding ones cannot.
  const finite = [range.min, range.max, scalar(names.sumOfMagnitudes)].every(Number.isFinite)
  return finite ? { range, size: scalar(names.size) } : undefined
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
