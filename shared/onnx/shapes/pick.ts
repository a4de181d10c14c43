import type { Dim } from '../graph.ts'
import type { KnownInts } from './rule.ts'

/** Which positions of an input axis an output axis shows. */
export interface Pick {
  readonly axis: number
  readonly at: readonly number[]
}

/** The elements that `picks`, one for each output axis, choose: slicing and transposing in one. */
export function pick(ints: KnownInts, picks: readonly Pick[]): KnownInts {
  const strides = ints.dims.map((_, axis) => ints.dims.slice(axis + 1).reduce((product, dim) => product * dim, 1))
  const offsets = picks.reduce<readonly number[]>(
    (bases, { axis, at }) => bases.flatMap((base) => at.map((position) => base + position * (strides[axis] ?? 0))),
    [0],
  )
  return { dims: picks.map(({ at }) => at.length), values: offsets.map((offset): Dim => ints.values[offset]) }
}

export function range(length: number | undefined): readonly number[] {
  return Array.from({ length: length ?? 0 }, (_, position) => position)
}
