import type { DeploymentPhase } from '@edgefit/shared/model'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

interface PhaseLimit {
  /** Without a word from the device. */
  readonly silentMs: number
  /** Whatever it says. Above the device's own limit, so that its word comes first; a search adds its budget. */
  readonly totalMs: number
}

/** `deferred` has none: a device that waits for its maintenance window may wait, as long as it is there. */
export const PHASE_LIMITS: Readonly<Record<Exclude<DeploymentPhase, 'deferred'>, PhaseLimit>> = {
  downloading: { silentMs: 30 * MINUTE_MS, totalMs: 25 * HOUR_MS },
  verifying: { silentMs: 45 * MINUTE_MS, totalMs: 45 * MINUTE_MS },
  profiling: { silentMs: 30 * MINUTE_MS, totalMs: HOUR_MS },
  searching: { silentMs: HOUR_MS, totalMs: 90 * MINUTE_MS },
  benchmarking: { silentMs: HOUR_MS, totalMs: 2 * HOUR_MS },
  staged: { silentMs: 25 * MINUTE_MS, totalMs: 25 * MINUTE_MS },
  activating: { silentMs: 20 * MINUTE_MS, totalMs: 20 * MINUTE_MS },
  confirming: { silentMs: 25 * MINUTE_MS, totalMs: 25 * MINUTE_MS },
  rolling_back: { silentMs: 20 * MINUTE_MS, totalMs: 20 * MINUTE_MS },
}

/** A device that is there but does not begin. */
export const QUEUED_ONLINE_MS = HOUR_MS
/** A device that was not there when its turn came, or left while it waited for its window, may come back this late. */
export const ABSENT_MS = 7 * 24 * HOUR_MS
/** After the controller was away, devices first come back and hand in what they have kept. */
export const CATCH_UP_MS = 10 * MINUTE_MS
