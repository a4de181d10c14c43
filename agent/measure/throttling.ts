import type { ThermalState } from '../profile/thermal.ts'

/** A clock this much lower after the measurement than before it has been lowered. */
const CLOCK_DROP_RATIO = 0.85
/** Second half of a measurement slower than the first by this share: the box was not the same throughout. */
const DRIFT_RATIO = 0.2

/**
 * Did the CPU hold back during a measurement? Both states are read under load, straight after runs: an idle clock says
 * nothing. The drift stands in for the sensors that virtual machines and small boards lack.
 *
 * @param driftRatio median latency of the second half over the first, minus 1
 */
export function wasThrottled(before: ThermalState, after: ThermalState, driftRatio: number): boolean {
  if (before.holding.length > 0 || after.holding.length > 0) return true
  if ((after.throttleCount ?? 0) > (before.throttleCount ?? 0)) return true
  if (before.frequencyMhz !== null && after.frequencyMhz !== null) {
    if (after.frequencyMhz < CLOCK_DROP_RATIO * before.frequencyMhz) return true
  }
  return driftRatio > DRIFT_RATIO
}
