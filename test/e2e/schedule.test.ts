import { afterEach, beforeEach, expect, it } from 'vitest'
import { publishBreastCancer } from '../support/breast-cancer.ts'
import { createFleet, eventually, type Fleet } from '../support/fleet.ts'

interface Report {
  readonly rows: readonly {
    readonly rebenchmark: {
      readonly count: number
      readonly change: { readonly ratio: number }
      readonly drifted: boolean
    } | null
  }[]
}

interface Shown {
  readonly rollout: { readonly targets: readonly { readonly phase: string | null; readonly status: string }[] }
}

let fleet: Fleet
beforeEach(async () => {
  fleet = await createFleet()
  await fleet.startController()
  await fleet.enrol('alpha')
  await publishBreastCancer(fleet)
  fleet.startAgent('alpha')
})
afterEach(() => fleet.stop())

const create = (...extra: string[]) =>
  fleet.createRollout('--latency-p90-ms', '50', '--selector', 'all', '--budget-s', '6', ...extra)

it('measures the active model again on schedule and reports the change', async () => {
  const rollout = await create('--rebenchmark', '* * * * *')
  expect((await fleet.edgefit('rollout', 'watch', rollout)).status).toBe(0)

  await eventually('a re-benchmark is reported', async () => {
    const { rows } = await fleet.json<Report>('report', 'latency')
    return rows[0]?.rebenchmark != null
  })

  const { rows } = await fleet.json<Report>('report', 'latency')
  expect(rows[0]?.rebenchmark?.count).toBeGreaterThanOrEqual(1)
  expect(rows[0]?.rebenchmark?.change.ratio).toBeGreaterThan(0)
  expect(typeof rows[0]?.rebenchmark?.drifted).toBe('boolean')
})

it('downloads outside the maintenance window and waits for it with the rest', async () => {
  const farHour = (new Date().getHours() + 12) % 24
  const rollout = await create('--window', `0 ${farHour} * * *`, '--window-length', '1h')

  await eventually('the deployment is deferred', async () => {
    const { targets } = (await fleet.json<Shown>('rollout', 'show', rollout)).rollout
    return targets[0]?.phase === 'deferred'
  })

  expect(await fleet.log('alpha')).toMatch(/artifact complete/)
  const status = await fleet.json<Report>('report', 'latency')
  expect(status.rows).toMatchObject([{ verdict: 'pending', baseline: null }])
})
