import { describe, expect, it } from 'vitest'
import { statusChange } from '../../../controller/fleet/status-change.ts'
import { NOW_MS, status } from './fixtures.ts'

type Current = Parameters<typeof statusChange>[0]

function current(overrides: Partial<Current> = {}): Current {
  return {
    attempt: 1,
    status: 'in_progress',
    status_by: 'device',
    status_position: 10,
    phase: 'downloading',
    started_at_ms: NOW_MS,
    phase_started_at_ms: NOW_MS,
    ...overrides,
  }
}

const succeeded = status({ status: 'succeeded', phase: null, reason: 'objective-met', outcome: 'activated' })

describe('statusChange', () => {
  it('starts the clock of a new phase and keeps that of the same one', () => {
    const same = statusChange(current(), status({ phase: 'downloading' }), 11, NOW_MS + 5)
    const next = statusChange(current(), status({ phase: 'searching' }), 11, NOW_MS + 5)

    expect(same?.phase_started_at_ms).toBe(NOW_MS)
    expect(next).toMatchObject({ phase: 'searching', phase_started_at_ms: NOW_MS + 5 })
  })

  it('ignores progress older than what is known, and reports of another attempt', () => {
    expect(statusChange(current(), status({ phase: 'verifying' }), 9, NOW_MS)).toBeUndefined()
    expect(statusChange(current({ attempt: 2 }), succeeded, 99, NOW_MS)).toBeUndefined()
  })

  it('takes a terminal status whatever its place', () => {
    expect(statusChange(current(), succeeded, 3, NOW_MS)).toMatchObject({ status: 'succeeded', outcome: 'activated' })
  })

  it('lets a terminal status stand against later progress', () => {
    expect(statusChange(current({ status: 'succeeded' }), status(), 11, NOW_MS)).toBeUndefined()
  })

  it('gives way to a newer terminal status of the device only', () => {
    const removed = status({ status: 'removed', phase: null })

    expect(statusChange(current({ status: 'succeeded' }), removed, 11, NOW_MS)).toMatchObject({ status: 'removed' })
    expect(statusChange(current({ status: 'removed' }), succeeded, 9, NOW_MS)).toBeUndefined()
  })

  it('replaces a time-out of the controller by the late word of the device', () => {
    const silent = current({ status: 'timed_out', status_by: 'controller', phase: null })

    expect(statusChange(silent, succeeded, 11, NOW_MS)).toMatchObject({ status: 'succeeded', status_by: 'device' })
    expect(statusChange(silent, status(), 11, NOW_MS)).toBeUndefined()
  })

  it('keeps a withdrawn deployment withdrawn and only notes what runs', () => {
    const withdrawn = current({ status: 'cancelled', status_by: 'controller', phase: null })

    const change = statusChange(withdrawn, { ...succeeded, running: 'a'.repeat(64) }, 11, NOW_MS)

    expect(change).toEqual({ outcome: 'activated', running_digest: 'a'.repeat(64), status_position: 11 })
  })
})
