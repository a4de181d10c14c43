import type { Measurement, Objective } from '@edgefit/shared/model'
import { pairedRelativeFloor } from '@edgefit/shared/stats'
import type { LatencyRow } from './latency-report.ts'

/** A variant's accuracy beside fp32's on the same samples and the floor it has to hold. Null where none was measured. */
export function rowAccuracy(
  variant: Measurement,
  baseline: Measurement | undefined,
  objective: Objective,
): LatencyRow['accuracy'] {
  const { accuracy } = variant
  if (accuracy === null) return null
  const reference = baseline?.accuracy?.value ?? null
  return {
    ...accuracy,
    baseline: reference,
    retained: retained(variant, reference),
    floor: floorOf(objective, reference),
  }
}

/** The floor in units of the metric. Null without one, or where it is relative to an accuracy nobody measured. */
export function floorOf({ accuracy }: Objective, baseline: number | null): number | null {
  if (accuracy === undefined) return null
  if (accuracy.kind === 'absolute') return accuracy.value
  return baseline === null ? null : accuracy.value * baseline
}

function retained({ accuracy, againstBaseline }: Measurement, baseline: number | null) {
  if (accuracy === null || againstBaseline === undefined || !baseline) return null
  const { paired, difference } = againstBaseline
  if (paired !== null && paired.both + paired.onlyBaseline > 0) {
    // The bounds do not depend on the floor asked for.
    const { estimate, lower } = pairedRelativeFloor(paired, 1)
    return { ratio: estimate, low: lower }
  }
  if (difference === null) return null
  return { ratio: (baseline + difference.value) / baseline, low: (baseline + difference.low) / baseline }
}
