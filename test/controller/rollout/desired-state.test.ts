import { describe, expect, it } from 'vitest'
import { issueDesired } from '../../../controller/rollout/desired-state.ts'
import { digest } from '../fleet/fixtures.ts'
import { input, openRolloutScene } from './support/rollout-scene.ts'

describe('the desired state', () => {
  it('keeps its version while nothing changes and raises it when something does', async () => {
    const { db, rollouts, clock } = await openRolloutScene()
    const empty = await issueDesired(db, 'default', 'pi-1', clock.nowMs)
    clock.nowMs += 1000
    expect(await issueDesired(db, 'default', 'pi-1', clock.nowMs)).toEqual(empty)

    await rollouts.create(input(), true)
    const goal = await issueDesired(db, 'default', 'pi-1', clock.nowMs)

    expect(goal.version).toBe(empty.version + 1)
    expect(goal.slots['default']).toMatchObject({
      model: { name: 'net', version: 1, artifact: { digest: digest(1), manifest: { digest: digest(9) } } },
      objective: { latencyP90Ms: 10, minimize: 'latency' },
      search: { budgetS: 600, seed: 0 },
    })
  })

  it('is issued anew long before it expires', async () => {
    const { db, clock } = await openRolloutScene()
    const first = await issueDesired(db, 'default', 'pi-1', clock.nowMs)
    clock.nowMs = first.expiresAtMs - 3 * 86_400_000
    const second = await issueDesired(db, 'default', 'pi-1', clock.nowMs)

    expect(second.version).toBe(first.version + 1)
    expect(second.expiresAtMs).toBeGreaterThan(first.expiresAtMs)
  })
})
