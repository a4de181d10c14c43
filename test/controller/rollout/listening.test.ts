import { expect, it } from 'vitest'
import { createListening } from '../../../controller/rollout/listening.ts'

function listeningFrom(startMs: number) {
  let nowMs = startMs
  const listening = createListening(() => nowMs)
  return {
    ...listening,
    now: () => nowMs,
    jump(byMs: number) {
      nowMs += byMs
    },
    /** As a ticker does: asked all the while. */
    pass(durationMs: number) {
      const untilMs = nowMs + durationMs
      for (; nowMs < untilMs; nowMs += Math.min(5_000, untilMs - nowMs)) listening.sinceMs()
      listening.sinceMs()
    },
  }
}

it('counts from the first connection, over brief gaps, and anew after long ones', () => {
  const listening = listeningFrom(1000)
  expect(listening.sinceMs()).toBeUndefined()

  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(1000)

  listening.pass(499_000)
  listening.onConnection(false)
  expect(listening.sinceMs()).toBeUndefined()
  listening.pass(60_000)
  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(1000)

  listening.onConnection(false)
  listening.pass(30_000)
  listening.onConnection(false)
  listening.pass(30_001)
  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(listening.now())
})

it.each([
  ['the host slept', 3_600_000],
  ['the clock was set back', -86_400_000],
])('counts anew where %s', (_, byMs) => {
  const listening = listeningFrom(1_000_000_000)
  listening.onConnection(true)
  listening.pass(100_000)

  listening.jump(byMs)

  expect(listening.sinceMs()).toBe(listening.now())
})
