import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  afterArrival,
  afterTimeout,
  DEFAULT_WINDOW,
  patienceMs,
  startWindow,
  type Window,
} from '../../../agent/link/download-window.ts'

const CHUNK = 64 * 1024
const limits = DEFAULT_WINDOW

/**
 * A link with a round trip and a rate, fed as a download feeds it: a window of chunks under way, each arriving when
 * the link has carried all before it. Returns the window after `bytes` have come.
 */
function over(link: { rttMs: number; bytesPerS: number }, bytes: number, from = startWindow(limits)): Window {
  let window = from
  let nowMs = 0
  let linkFreeMs = 0
  const underWay: { askedMs: number; arrivesMs: number }[] = []
  for (let done = 0; done < bytes; done += CHUNK) {
    while (underWay.length * CHUNK < window.bytes) {
      linkFreeMs = Math.max(linkFreeMs, nowMs + link.rttMs) + (CHUNK * 1000) / link.bytesPerS
      underWay.push({ askedMs: nowMs, arrivesMs: linkFreeMs })
    }
    const chunk = underWay.shift() ?? { askedMs: 0, arrivesMs: 0 }
    nowMs = Math.max(nowMs, chunk.arrivesMs)
    window = afterArrival(window, { bytes: CHUNK, nowMs, waitedMs: nowMs - chunk.askedMs }, limits)
  }
  return window
}

describe('the window of a download', () => {
  it('grows on a long fast link until it is filled', () => {
    const link = { rttMs: 100, bytesPerS: 20e6 }

    const window = over(link, 100e6)

    expect(window.bytes).toBeGreaterThanOrEqual((link.rttMs / 1000) * link.bytesPerS)
    expect(window.rateBytesPerS).toBeGreaterThan(0.9 * link.bytesPerS)
  })

  it('stays small where a larger one brings nothing', () => {
    expect(over({ rttMs: 0.1, bytesPerS: 50e6 }, 100e6).bytes).toBeLessThanOrEqual(4 * limits.startBytes)
  })

  it('holds no more than the link brings in its time', () => {
    const slow = { rttMs: 500, bytesPerS: 200e3 }

    expect(over(slow, 10e6).bytes).toBeLessThanOrEqual(slow.bytesPerS * limits.seconds * 1.05)
  })

  it('shrinks when the link becomes slow, and grows again with it', () => {
    const fast = over({ rttMs: 100, bytesPerS: 20e6 }, 100e6)
    const slow = over({ rttMs: 100, bytesPerS: 500e3 }, 60e6, { ...fast, round: null })
    const fastAgain = over({ rttMs: 100, bytesPerS: 20e6 }, 100e6, { ...slow, round: null })

    expect(slow.bytes).toBeLessThanOrEqual(525e3)
    expect(fastAgain.bytes).toBeGreaterThanOrEqual(2e6)
  })

  it('never leaves its bounds, whatever comes', () => {
    const event = fc.oneof(
      fc.record({
        bytes: fc.integer({ min: 1, max: CHUNK }),
        afterMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
        waitedMs: fc.option(fc.double({ min: 0, max: 1e5, noNaN: true })),
      }),
      fc.constant('timeout' as const),
    )
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 300 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (events, jitter) => {
          let window = startWindow(limits)
          let nowMs = 0
          for (const next of events) {
            if (next === 'timeout') window = afterTimeout(window)
            else {
              nowMs += next.afterMs
              window = afterArrival(window, { bytes: next.bytes, nowMs, waitedMs: next.waitedMs }, limits)
            }
            expect(window.bytes).toBeGreaterThanOrEqual(CHUNK)
            expect(window.bytes).toBeLessThanOrEqual(limits.maxBytes)
            const patience = patienceMs(window, limits, jitter)
            expect(patience).toBeGreaterThanOrEqual(0.75 * limits.minPatienceMs)
            expect(patience).toBeLessThanOrEqual(1.25 * limits.maxPatienceMs)
          }
        },
      ),
    )
  })
})

describe('the patience of a download', () => {
  it('starts without knowledge and follows what is seen', () => {
    const start = startWindow(limits)
    const seen = over({ rttMs: 800, bytesPerS: 20e6 }, 20e6)

    expect(patienceMs(start, limits, 0.5)).toBe(limits.firstPatienceMs)
    expect(patienceMs(seen, limits, 0.5)).toBeGreaterThan(800)
    expect(patienceMs(seen, limits, 0.5)).toBeLessThan(limits.firstPatienceMs)
  })

  it('doubles with every timeout up to its limit, until a chunk comes that was asked for once', () => {
    let window = startWindow(limits)
    const waits = [0, 1, 2, 3, 4, 5, 6].map(() => {
      const wait = patienceMs(window, limits, 0.5)
      window = afterTimeout(window)
      return wait
    })

    expect(waits).toEqual([8_000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000])
    window = afterArrival(window, { bytes: CHUNK, nowMs: 0, waitedMs: null }, limits)
    expect(patienceMs(window, limits, 0.5)).toBe(60_000)
    window = afterArrival(window, { bytes: CHUNK, nowMs: 0, waitedMs: 2_000 }, limits)
    expect(patienceMs(window, limits, 0.5)).toBe(6_000)
  })

  it('is spread by a quarter to both sides', () => {
    expect(patienceMs(startWindow(limits), limits, 0)).toBe(6_000)
    expect(patienceMs(startWindow(limits), limits, 0.9999)).toBeCloseTo(10_000, -1)
  })
})
