import type { Evidence } from './evidence.ts'
import type { LatencyRow } from './latency-report.ts'
import { ago, ms, relativeChange } from './words.ts'

/** Above this robust spread a latency sample is called noisy: its median is no longer repeatable within 5 %. */
const NOISY_RATIO = 0.05

export interface WarningFacts {
  readonly device: LatencyRow['device']
  readonly evidence: Evidence | undefined
  readonly serving: LatencyRow['serving']
  readonly outcome: NonNullable<LatencyRow['deployment']>['outcome'] | undefined
  readonly nowMs: number
}

/** What makes a row's figures less than they seem, most pressing first. */
export function warningsOf({ device, evidence, serving, outcome, nowMs }: WarningFacts): LatencyRow['warnings'] {
  const warnings: LatencyRow['warnings'] = []
  const add = (code: LatencyRow['warnings'][number]['code'], message: string) => warnings.push({ code, message })
  const { lastRebenchmark: last, winner } = evidence ?? {}
  if (outcome === 'unable_to_roll_back') add('not-serving', 'could not roll back: what serves there is uncertain')
  else if (serving !== null) add('not-serving', servingWords(serving))
  if (last?.drifted && last.change !== null) {
    const { ratio, low, high } = last.change
    add(
      'drifted',
      `latency changed by ${relativeChange(ratio, 1)} since it was chosen (95 %: ${relativeChange(low, 1)} to ${relativeChange(high, 1)})`,
    )
  }
  const measurement = (last ?? winner)?.measurement
  if (measurement?.throttled) add('throttled', 'the CPU was throttled while it was measured')
  if (measurement !== undefined && measurement.noise > NOISY_RATIO) {
    add(
      'noisy',
      `noisy: runs spread by ${(measurement.noise * 100).toFixed(0)} %, steady is below ${NOISY_RATIO * 100} %`,
    )
  }
  if (!device.online) {
    add(
      'offline',
      device.lastSeenAtMs === null ? 'never seen online' : `offline, last seen ${ago(device.lastSeenAtMs, nowMs)}`,
    )
  }
  return warnings
}

function servingWords({ digest, model, label, p90BoundMs }: NonNullable<LatencyRow['serving']>): string {
  if (model === null) return `still serves variant ${digest.slice(0, 12)}, of which nothing is known here`
  const latency = p90BoundMs === null ? '' : `, p90 at most ${ms(p90BoundMs)} ms`
  return `still serves ${model.name}@${model.version}${label === null ? '' : ` (${label}${latency})`}`
}
