import { EdgefitError } from '@edgefit/shared'
import type { DesiredState } from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'
import { decommissionDevice } from '../../../controller/rollout/decommission.ts'
import { issueDesired } from '../../../controller/rollout/desired-state.ts'
import { createGoals } from '../../../controller/rollout/goals.ts'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { silentLog } from '../../support/link.ts'
import { input, openRolloutScene, type RolloutScene } from './support/rollout-scene.ts'

describe('createGoals', () => {
  const goalsVia = ({ db, clock }: RolloutScene, publish: (state: DesiredState) => Promise<void>) =>
    createGoals({
      db,
      commits: createCommitQueue(db),
      fleet: 'default',
      now: () => clock.nowMs,
      publish,
      log: silentLog,
    })

  it('keeps what it cannot send until the broker is back, and sends the newest then', async () => {
    const scene = await openRolloutScene()
    const sent: DesiredState[] = []
    let reachable = false
    const publish = (state: DesiredState) => {
      if (!reachable) return Promise.reject(new EdgefitError('no broker', { code: 'UNAVAILABLE' }))
      sent.push(state)
      return Promise.resolve()
    }
    const goals = goalsVia(scene, publish)
    goals.send(['pi-1'])
    await goals.drain()
    await scene.rollouts.create(input(), true)

    reachable = true
    goals.resume()
    await goals.drain()

    expect(sent.map(({ device, version, slots }) => [device, version, Object.keys(slots)])).toEqual([
      ['pi-1', 2, ['default']],
    ])
  })

  it('sends what was asked for while the broker was away, however often that was', async () => {
    const sent: string[] = []
    let reachable = false
    const publish = ({ device }: DesiredState) => {
      if (!reachable) return Promise.reject(new EdgefitError('no broker', { code: 'UNAVAILABLE' }))
      sent.push(device)
      return Promise.resolve()
    }
    const goals = goalsVia(await openRolloutScene(), publish)
    goals.send(['pi-1'])
    await goals.drain()
    goals.send(['pi-2'])

    reachable = true
    goals.resume()
    await expect.poll(() => [...sent].sort()).toEqual(['pi-1', 'pi-2'])
    await goals.drain()
  })

  it('sends nothing to a device that left the fleet meanwhile', async () => {
    const scene = await openRolloutScene()
    const { db, clock } = scene
    const sent: string[] = []
    const publish = ({ device }: DesiredState) => Promise.resolve(void sent.push(device))
    const goals = goalsVia(scene, publish)
    await decommissionDevice(db, 'pi-1', clock.nowMs)

    goals.send(['pi-1', 'pi-2'])
    await goals.drain()

    expect(sent).toEqual(['pi-2'])
    expect(await db.selectFrom('desired_states').select('device_id').execute()).toEqual([{ device_id: 'pi-2' }])
  })

  it('tries again within minutes what could not be issued', async () => {
    let full = true
    const sent: string[] = []
    const publish = ({ device }: DesiredState) => {
      if (full) return Promise.reject(new Error('database or disk is full'))
      return Promise.resolve(void sent.push(device))
    }
    const goals = goalsVia(await openRolloutScene(), publish)
    goals.send(['pi-1'])
    await goals.drain()

    full = false
    await goals.renew()
    await goals.drain()

    expect(sent).toEqual(['pi-1'])
  })

  it('issues anew what nears its expiry, of accepted devices alone', async () => {
    const scene = await openRolloutScene()
    const { db, clock } = scene
    const sent: string[] = []
    const publish = ({ device, version }: DesiredState) => {
      sent.push(`${device} ${version}`)
      return Promise.resolve()
    }
    const goals = goalsVia(scene, publish)
    await issueDesired(db, 'default', 'pi-1', clock.nowMs)
    await issueDesired(db, 'default', 'stranger', clock.nowMs)

    await goals.renew()
    await goals.drain()
    clock.nowMs += 4 * 86_400_000
    await goals.renew()
    await goals.drain()

    expect(sent).toEqual(['pi-1 2'])
  })
})
