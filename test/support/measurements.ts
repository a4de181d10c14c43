import type { Measurement, PairedCounts, Recipe, RuntimeSettings } from '@edgefit/shared/model'

export const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }

export function recipe(label: string, passes: Recipe['passes'] = []): Recipe {
  return { schemaVersion: 1, label, passes, runtime: RUNTIME }
}

interface Figures {
  readonly p90BoundMs: number
  readonly ratio?: readonly [low: number, ratio: number, high: number]
  readonly paired?: PairedCounts
  readonly difference?: { readonly value: number; readonly low: number }
  readonly accuracy?: Measurement['accuracy']
  readonly peakRssBytes?: number
  readonly sizeBytes?: number
  readonly split?: Measurement['split']
}

/** A measurement with the figures that decide, the rest plausible. Without `ratio` it is fp32's. */
export function measurement(figures: Figures): Measurement {
  const { p90BoundMs, ratio, paired, difference } = figures
  const right = paired === undefined ? 930 : paired.both + paired.onlyVariant
  const count = paired === undefined ? 1000 : right + paired.onlyBaseline + paired.neither
  const value = right / count
  return {
    latencyMs: {
      p50: p90BoundMs * 0.9,
      p90: p90BoundMs * 0.98,
      p99: p90BoundMs * 1.3,
      p90Bound: p90BoundMs,
      count: 1000,
    },
    accuracy:
      figures.accuracy === undefined
        ? { metric: 'top1', value, low: value - 0.01, high: value + 0.01, count }
        : figures.accuracy,
    sizeBytes: figures.sizeBytes ?? 1_000_000,
    peakRssBytes: figures.peakRssBytes ?? 90_000_000,
    loadMs: 20,
    threads: 1,
    throttled: false,
    noise: 0.01,
    histogram: '',
    split: figures.split ?? 'tuning',
    runtime: RUNTIME,
    runtimeVersion: '1.30.0',
    temperatureC: { before: null, after: null },
    measuredAtMs: 0,
    ...(ratio && {
      againstBaseline: {
        latencyRatio: { low: ratio[0], ratio: ratio[1], high: ratio[2] },
        sqnrDb: 20,
        paired: paired ?? null,
        difference: difference ?? null,
      },
    }),
  }
}
