import { describe, expect, it } from 'vitest'
import { createBell } from '../../../agent/link/bell.ts'

const never = new AbortController().signal
const forever = Number.POSITIVE_INFINITY

describe('a bell', () => {
  it('wakes who waits', async () => {
    const bell = createBell()

    const waiting = bell.wait(forever, never)
    bell.ring()

    expect(await waiting).toBe(true)
  })

  it('keeps one ring for the next who waits, however often it rang', async () => {
    const bell = createBell()
    bell.ring()
    bell.ring()

    expect(await bell.wait(forever, never)).toBe(true)
    expect(await bell.wait(0, never)).toBe(false)
  })

  it('forgets a ring when silenced', async () => {
    const bell = createBell()
    bell.ring()

    bell.silence()

    expect(await bell.wait(0, never)).toBe(false)
  })

  it('lets go of who waits when the wait is aborted, now or before', async () => {
    const bell = createBell()
    const abort = new AbortController()

    const waiting = bell.wait(forever, abort.signal)
    abort.abort()

    expect(await waiting).toBe(false)
    expect(await bell.wait(forever, abort.signal)).toBe(false)
  })
})
