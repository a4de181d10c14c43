import type { Accuracy, Measurement, Trial } from '@edgefit/shared/model'

export function formatMs(value: number): string {
  return value < 1 ? `${value.toFixed(3)} ms` : `${value.toPrecision(4)} ms`
}

export function formatBytes(bytes: number): string {
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}

export function formatAccuracy(accuracy: Accuracy | null): string {
  if (accuracy === null) return 'not measured'
  const { metric, value, low, high, count } = accuracy
  return `${metric} ${value.toFixed(4)} (95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}, ${count} samples)`
}

/** A block for people: one measurement in full. */
export function formatMeasurement(title: string, measurement: Measurement): string {
  const { latencyMs, againstBaseline } = measurement
  const ratio = againstBaseline?.latencyRatio
  const flags = [measurement.throttled ? 'throttled' : '', measurement.noise > 0.1 ? 'noisy' : ''].filter(Boolean)
  return [
    title,
    `  latency   p50 ${formatMs(latencyMs.p50)}, p90 ${formatMs(latencyMs.p90)} (at most ${formatMs(latencyMs.p90Bound)} with 99 % confidence), p99 ${formatMs(latencyMs.p99)}, ${latencyMs.count} queries`,
    ...(ratio
      ? [
          `  speed-up  ${(1 / ratio.ratio).toFixed(2)} times fp32 (95 % interval ${(1 / ratio.high).toFixed(2)} to ${(1 / ratio.low).toFixed(2)})`,
        ]
      : []),
    `  accuracy  ${formatAccuracy(measurement.accuracy)}`,
    `  size      ${formatBytes(measurement.sizeBytes)}, peak RSS ${formatBytes(measurement.peakRssBytes)}, loads in ${measurement.loadMs.toFixed(0)} ms`,
    `  threads   ${measurement.threads}, noise ${(measurement.noise * 100).toFixed(1)} %${flags.length > 0 ? `, ${flags.join(', ')}` : ''}`,
  ].join('\n')
}

/** One line for one trial: what was tried, what it gave, why it lost. */
export function formatTrial({ id, recipe, outcome, losses }: Trial): string {
  const label = `${String(id).padStart(2)}  ${recipe.label ?? 'unnamed recipe'}`
  if (outcome.kind === 'failed') return `${label}: failed, ${outcome.reason}: ${outcome.message.split('\n')[0] ?? ''}`
  const { measurement } = outcome
  const ratio = measurement.againstBaseline?.latencyRatio.ratio
  const figures = [
    `p90 at most ${formatMs(measurement.latencyMs.p90Bound)}`,
    ...(ratio === undefined ? [] : [`${ratio.toFixed(2)} times fp32's latency`]),
    ...(measurement.accuracy === null
      ? []
      : [`${measurement.accuracy.metric} ${measurement.accuracy.value.toFixed(4)}`]),
  ]
  const why =
    losses.length === 0 ? '' : `\n      lost: ${losses.map(({ reason, detail }) => `${reason}, ${detail}`).join('; ')}`
  return `${label}: ${figures.join(', ')}${why}`
}
