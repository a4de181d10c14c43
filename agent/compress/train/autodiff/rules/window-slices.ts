import type { Emitter } from '../emitter.ts'
import { of, type Tap, type WindowGeometry } from './window-geometry.ts'

/**
 * `value` with the spatial axes `spatial` of the window padded by zeros to what all windows reach, and cut there.
 *
 * @param places by spatial axis its place among `rank` axes of `value`; undefined for one that is left alone
 */
export function padded(
  emit: Emitter,
  value: string,
  geometry: WindowGeometry,
  rank: number,
  places: readonly (number | undefined)[],
): string {
  const pads = new Array<number>(2 * rank).fill(0)
  for (const [axis, place] of places.entries()) {
    if (place === undefined) continue
    pads[place] = of(geometry.padsBegin, axis)
    pads[place + rank] = of(geometry.padsEnd, axis)
  }
  return pads.every((pad) => pad === 0) ? value : emit.add('Pad', [value, emit.ints(pads)])
}

/** What the windows have under one tap, by a strided slice of a value that is {@link padded}: `small` long on each axis. */
export function underTap(
  emit: Emitter,
  value: string,
  geometry: WindowGeometry,
  tap: Tap,
  places: readonly number[],
): string {
  const { strides, dilations, small } = geometry
  const starts = tap.map((index, axis) => index * of(dilations, axis))
  const ends = starts.map((start, axis) => start + (of(small, axis) - 1) * of(strides, axis) + 1)
  const steps = starts.map((_, axis) => of(strides, axis))
  const whole = starts.every(
    (start, axis) => start === 0 && of(steps, axis) === 1 && of(ends, axis) === paddedLength(geometry, axis),
  )
  if (whole) return value
  return emit.add('Slice', [value, emit.ints(starts), emit.ints(ends), emit.ints(places), emit.ints(steps)])
}

function paddedLength({ large, padsBegin, padsEnd }: WindowGeometry, axis: number): number {
  return of(large, axis) + of(padsBegin, axis) + of(padsEnd, axis)
}
