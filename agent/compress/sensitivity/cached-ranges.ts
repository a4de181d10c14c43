import type { Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import type { RangesOf } from './layer-quantizer.ts'

/** Calibrates what is asked for and not yet known, and remembers it. */
export function cachedRanges(
  known: Readonly<Record<string, readonly [min: number, max: number]>>,
  calibrate: (prepared: Model, tensors: readonly string[]) => Promise<ReadonlyMap<string, Interval>>,
): RangesOf {
  const ranges = new Map(
    Object.entries(known).map(([tensor, [min, max]]): [string, Interval] => [tensor, { min, max }]),
  )
  return async (prepared, tensors) => {
    const missing = tensors.filter((tensor) => !ranges.has(tensor))
    if (missing.length > 0) {
      for (const [tensor, range] of await calibrate(prepared, missing)) ranges.set(tensor, range)
    }
    return new Map(
      tensors.map((tensor) => {
        const range = ranges.get(tensor)
        if (range === undefined) throw new RangeError(`"${tensor}" was not calibrated`)
        return [tensor, range]
      }),
    )
  }
}
