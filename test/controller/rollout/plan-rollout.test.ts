import { describe, expect, it } from 'vitest'
import { createIngest } from '../../../controller/fleet/ingest.ts'
import { planRollout } from '../../../controller/rollout/plan-rollout.ts'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { batchOf, digest, measurement, report } from '../fleet/fixtures.ts'
import { input, openRolloutScene } from './support/rollout-scene.ts'

describe('planRollout', () => {
  it('tells who matches, what has to travel and what the class has shown', async () => {
    const { db, rollouts, clock } = await openRolloutScene()
    await db.updateTable('devices').set({ hardware_class: 'a72-0123456789ab' }).where('id', '=', 'pi-1').execute()
    await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await createIngest({ commits: createCommitQueue(db), now: () => clock.nowMs }).accept(
      'pi-1',
      batchOf([
        report(1, {
          kind: 'result',
          deploymentId: 'r-1-1',
          attempt: 1,
          verdict: 'met',
          baseline: measurement({ latencyMs: { p50: 8, p90: 9, p99: 10, p90Bound: 9.5, count: 500 } }),
          winner: { trialId: 3, digest: digest(3), measurement: measurement() },
          losses: {},
          reasons: [],
        }),
      ]),
    )

    const plan = await planRollout(db, input({ objective: { latencyP90Ms: 5 } }))

    expect(plan.targets).toEqual([
      { device: 'pi-1', online: true, hardwareClass: 'a72-0123456789ab', bytes: 0, supersedes: 'r-1-1' },
      { device: 'pi-2', online: true, hardwareClass: null, bytes: 3200, supersedes: null },
    ])
    expect(plan.classes).toEqual([
      {
        hardwareClass: 'a72-0123456789ab',
        devices: 1,
        baselineP90BoundMs: 9.5,
        bestP90BoundMs: 5.2,
        withinBudget: false,
      },
    ])
  })
})
