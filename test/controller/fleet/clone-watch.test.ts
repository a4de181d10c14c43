import { expect, it } from 'vitest'
import { createCloneWatch } from '../../../controller/fleet/clone-watch.ts'

const HOUR_MS = 3_600_000

it('tells two boxes of one identity by an instance that comes back', () => {
  const watch = createCloneWatch()
  const births = ['agent-a1', 'agent-b1', 'agent-a1', 'agent-b1']

  expect(births.map((instance) => watch.met('pi-1', instance, 0))).toEqual([false, false, true, false])
  expect(watch.met('pi-1', 'agent-a1', HOUR_MS)).toBe(true)
})

it('takes a box that reconnects or restarts for one', () => {
  const watch = createCloneWatch()
  const births = ['agent-a1', 'agent-a1', 'agent-a2', 'agent-a2', 'agent-a3']

  expect(births.map((instance) => watch.met('pi-1', instance, 0))).toEqual([false, false, false, false, false])
  expect(watch.met('pi-2', 'agent-a1', 0)).toBe(false)
})
