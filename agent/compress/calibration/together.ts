import { type Model, operatorHistogram } from '@edgefit/shared/onnx'

/** Whether operators take their scale from all samples of a run: dynamic quantization, which a few samples may hide. */
export function scalesByBatch(model: Model): boolean {
  return [...operatorHistogram(model).keys()].some((operator) => operator.includes('DynamicQuantize'))
}

/** Kernels of other shapes round differently; more than this is another computation. Of the largest number. */
const TOLERANCE_RATIO = 1e-3

/** Whether a run of several samples gave what one of each gives, up to rounding. */
export function agree(alone: ArrayLike<number>, together: ArrayLike<number>): boolean {
  if (alone.length !== together.length) return false
  const expected = Array.from(alone)
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return expected.every(
    (value, index) => Math.abs(value - (together[index] ?? Number.NaN)) <= TOLERANCE_RATIO * largest,
  )
}
