import { type ScaleLogarithmic, scaleLog } from 'd3-scale'

/** A logarithmic axis of latencies: equal distances are equal ratios, so twice as fast looks the same everywhere. */
export interface LatencyAxis {
  readonly scale: ScaleLogarithmic<number, number>
  /** Round latencies to label, ascending. */
  readonly ticksMs: readonly number[]
}

/** An axis that shows all of `latenciesMs` with a little air over `[start, end]` pixels, columns or percent. */
export function latencyAxis(
  latenciesMs: readonly number[],
  extent: readonly [start: number, end: number],
  labels: number,
): LatencyAxis {
  const positive = latenciesMs.filter((value) => value > 0 && Number.isFinite(value))
  const low = positive.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY)
  const high = positive.reduce((most, value) => Math.max(most, value), 0)
  const [from, to] = positive.length === 0 ? [1, 10] : [low, high]
  const air = Math.max(1.06, (to / from) ** 0.05)
  const scale = scaleLog([from / air, to * air], extent)
  return { scale, ticksMs: roundTicks(from / air, to * air, labels) }
}

const MANTISSAS = [
  [1],
  [1, 3],
  [1, 2, 5],
  [1, 1.5, 2, 3, 5, 7],
  [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9],
  Array.from({ length: 90 }, (_, index) => 1 + index / 10),
]

/** The densest set of round numbers within the range of which at most `labels` fit. */
function roundTicks(from: number, to: number, labels: number): number[] {
  const decades = Array.from(
    { length: Math.floor(Math.log10(to)) - Math.floor(Math.log10(from)) + 1 },
    (_, index) => 10 ** (Math.floor(Math.log10(from)) + index),
  )
  const sets = MANTISSAS.map((mantissas) =>
    decades
      .flatMap((decade) => mantissas.map((mantissa) => Number((decade * mantissa).toPrecision(3))))
      .filter((tick) => tick >= from && tick <= to),
  )
  const thinned = decades.filter((_, index) => index % Math.ceil(decades.length / labels) === 0)
  return sets.findLast((set) => set.length <= labels) ?? thinned.filter((tick) => tick >= from && tick <= to)
}
