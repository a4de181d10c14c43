import { describe, expect, it } from 'vitest'
import { isWindowOpen } from '../../../agent/deploy/maintenance-window.ts'

const local = (hour: number, minute: number) => new Date(2026, 4, 6, hour, minute, 30).getTime()
const night = { cron: '0 2 * * *', durationMin: 90 }

describe('isWindowOpen', () => {
  it.each([
    [1, 59, false],
    [2, 0, true],
    [3, 29, true],
    [3, 30, false],
    [14, 0, false],
  ])('at %i:%i is %s for a window of 90 minutes from 02:00', (hour, minute, open) => {
    expect(isWindowOpen(night, local(hour, minute))).toBe(open)
  })

  it('is always open where no window is set', () => {
    expect(isWindowOpen(null, 0)).toBe(true)
  })

  it('reaches over midnight', () => {
    expect(isWindowOpen({ cron: '30 23 * * *', durationMin: 60 }, local(0, 15))).toBe(true)
  })
})
