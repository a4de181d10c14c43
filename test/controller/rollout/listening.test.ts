import { expect, it } from 'vitest'
import { createListening } from '../../../controller/rollout/listening.ts'

it('counts from the first connection, over brief gaps, and anew after long ones', () => {
  let nowMs = 1000
  const listening = createListening(() => nowMs)
  expect(listening.sinceMs()).toBeUndefined()

  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(1000)

  nowMs = 500_000
  listening.onConnection(false)
  expect(listening.sinceMs()).toBeUndefined()
  nowMs += 60_000
  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(1000)

  listening.onConnection(false)
  nowMs += 30_000
  listening.onConnection(false)
  nowMs += 30_001
  listening.onConnection(true)
  expect(listening.sinceMs()).toBe(nowMs)
})
