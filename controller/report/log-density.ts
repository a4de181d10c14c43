import type { HistogramBin } from './latency-report.ts'

/**
 * The share of runs at each of `steps` latencies, evenly spaced on a logarithmic axis from `fromMs` to `toMs`,
 * relative to the highest: 1 at the peak. Smoothed by a Gaussian one step wide, so that what is drawn does not depend
 * on where the borders of the steps fall. Runs outside the axis are left out.
 */
export function logDensity(bins: readonly HistogramBin[], fromMs: number, toMs: number, steps: number): number[] {
  const scale = (steps - 1) / Math.log(toMs / fromMs)
  const density = new Array<number>(steps).fill(0)
  for (const { fromMs: low, toMs: high, count } of bins) {
    const position = Math.log((low + high) / 2 / fromMs) * scale
    for (let step = Math.max(0, Math.ceil(position - 3)); step <= Math.min(steps - 1, position + 3); step += 1) {
      density[step] = (density[step] ?? 0) + count * Math.exp(-0.5 * (step - position) ** 2)
    }
  }
  const peak = density.reduce((highest, value) => Math.max(highest, value), 0)
  return peak === 0 ? density : density.map((value) => value / peak)
}
