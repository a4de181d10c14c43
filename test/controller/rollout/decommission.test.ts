import { describe, expect, it } from 'vitest'
import { decommissionDevice } from '../../../controller/rollout/decommission.ts'
import { loadRollout } from '../../../controller/rollout/rollout-view.ts'
import { input, openRolloutScene, succeeded } from './support/rollout-scene.ts'

describe('a device that leaves in the middle of a rollout', () => {
  it('is removed from it, ends it for nobody else, and is left alone by all that follows', async () => {
    const { db, rollouts, clock, changed, tell } = await openRolloutScene()
    const id = await rollouts.create(input(), true)
    await decommissionDevice(db, 'pi-1', clock.nowMs)

    await rollouts.tick()
    expect((await loadRollout(db, id)).state).toBe('running')
    await tell('pi-2', `${id}-2`, succeeded)
    await rollouts.tick()
    const ended = await loadRollout(db, id)
    changed.length = 0
    await rollouts.abort(id)

    expect(ended.state).toBe('finished')
    expect(ended.targets.map(({ device, status }) => [device, status])).toEqual([
      ['pi-1', 'removed'],
      ['pi-2', 'succeeded'],
    ])
    expect((await loadRollout(db, id)).targets[0]?.status).toBe('removed')
    expect(changed.flat()).not.toContain('pi-1')
  })
})
