import { MAX_CHUNK_BYTES, MAX_WINDOW_BYTES } from '@edgefit/shared/protocol'

/** How much a download may have asked for at once, and how long it waits for it. */
export interface WindowLimits {
  readonly startBytes: number
  readonly maxBytes: number
  /** The window holds at most what this device's link brings in this time. */
  readonly seconds: number
  /** How long to wait for the first chunk, before anything is known about the link. */
  readonly firstPatienceMs: number
  readonly minPatienceMs: number
  readonly maxPatienceMs: number
}

export const DEFAULT_WINDOW: WindowLimits = {
  startBytes: 4 * MAX_CHUNK_BYTES,
  maxBytes: MAX_WINDOW_BYTES,
  seconds: 1,
  firstPatienceMs: 8_000,
  minPatienceMs: 1_000,
  maxPatienceMs: 60_000,
}

/** Rates are taken over at least this long: a shorter time says more about the scheduler than about the link. */
const MIN_ROUND_MS = 10
/** A window twice as large pays if it brings at least this much more. */
const WORTHWHILE_GROWTH = 1.2
const RATE_SMOOTHING = 0.3

/** What has been learnt about this device's link. */
export interface Window {
  readonly bytes: number
  /** Smoothed; `null` until the first round has ended. */
  readonly rateBytesPerS: number | null
  /** Rate at the last growth: growing again must beat it. */
  readonly beatRate: number
  readonly round: { readonly startedAtMs: number; readonly bytes: number } | null
  /** Time from asking to arrival, and its mean deviation, as in RFC 6298. */
  readonly waitMs: { readonly mean: number; readonly deviation: number } | null
  /** Times the patience has run out since a chunk that was asked for once has come. */
  readonly backoff: number
}

export function startWindow(limits: WindowLimits): Window {
  return { bytes: limits.startBytes, rateBytesPerS: null, beatRate: 0, round: null, waitMs: null, backoff: 0 }
}

export interface Arrival {
  readonly bytes: number
  readonly nowMs: number
  /** Since the chunk was asked for; `null` where it was not, or more than once (which ask was answered is unknown). */
  readonly waitedMs: number | null
}

/** Counts an arrival. At the end of a round, a window's worth of bytes, decides about the window. */
export function afterArrival(window: Window, arrival: Arrival, limits: WindowLimits): Window {
  // Only a chunk asked for once says how long to wait, so only that ends the back-off (Karn's rule): on a link slower
  // than the patience every chunk is asked for again, and one that comes after that may be the first one sent.
  const heard =
    arrival.waitedMs === null ? window : { ...window, waitMs: smoothWait(window.waitMs, arrival.waitedMs), backoff: 0 }
  if (window.round === null) return { ...heard, round: { startedAtMs: arrival.nowMs, bytes: 0 } }
  const bytes = window.round.bytes + arrival.bytes
  const elapsedMs = arrival.nowMs - window.round.startedAtMs
  if (bytes < window.bytes || elapsedMs < MIN_ROUND_MS) return { ...heard, round: { ...window.round, bytes } }
  return endRound({ ...heard, round: { startedAtMs: arrival.nowMs, bytes: 0 } }, (bytes * 1000) / elapsedMs, limits)
}

function endRound(window: Window, sample: number, limits: WindowLimits): Window {
  const before = window.rateBytesPerS ?? sample
  const rateBytesPerS = before + RATE_SMOOTHING * (sample - before)
  const grows = sample >= WORTHWHILE_GROWTH * window.beatRate
  const wanted = grows ? window.bytes * 2 : window.bytes
  const most = Math.min(limits.maxBytes, (grows ? Math.max(sample, rateBytesPerS) : rateBytesPerS) * limits.seconds)
  const bytes = Math.max(MAX_CHUNK_BYTES, Math.min(wanted, most))
  const shrinks = bytes < window.bytes
  return { ...window, bytes, rateBytesPerS, beatRate: grows ? sample : shrinks ? rateBytesPerS : window.beatRate }
}

/** Counts that what was asked for did not come in time: half the window, and more patience. */
export function afterTimeout(window: Window): Window {
  return {
    ...window,
    bytes: Math.max(MAX_CHUNK_BYTES, window.bytes / 2),
    beatRate: 0,
    round: null,
    backoff: window.backoff + 1,
  }
}

/** How long to wait for a chunk before asking again. `jitter` in [0, 1) spreads devices that lost chunks together. */
export function patienceMs(window: Window, limits: WindowLimits, jitter: number): number {
  const expected =
    window.waitMs === null
      ? limits.firstPatienceMs
      : Math.max(limits.minPatienceMs, window.waitMs.mean + 4 * window.waitMs.deviation)
  const patience = Math.min(limits.maxPatienceMs, expected * 2 ** window.backoff)
  return patience * (0.75 + 0.5 * jitter)
}

function smoothWait(wait: Window['waitMs'], sampleMs: number): Window['waitMs'] {
  if (wait === null) return { mean: sampleMs, deviation: sampleMs / 2 }
  return {
    mean: wait.mean + (sampleMs - wait.mean) / 8,
    deviation: wait.deviation + (Math.abs(sampleMs - wait.mean) - wait.deviation) / 4,
  }
}
