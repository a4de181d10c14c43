import { isEdgefitError } from '@edgefit/shared'
import { decodeHistogram, histogramQuantileNs, mergeHistograms } from '@edgefit/shared/stats'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { LatencyReport, queryLatencyReport, type ReportFilters } from '../../../controller/report/index.ts'
import { CPUS, type LatencyFleet, latencyFleet, NOW_MS } from '../../support/latency-fleet.ts'
import { largeFleet, mixedFleet } from '../../support/latency-scene.ts'

let fleet: LatencyFleet
beforeAll(async () => {
  fleet = await mixedFleet()
})
afterAll(() => fleet.close())

const query = (filters: ReportFilters = {}) => queryLatencyReport(fleet.db, filters, NOW_MS)
const rowOf = async (device: string, filters: ReportFilters = {}) => {
  const { rows } = await query({ device, ...filters })
  const [row] = rows
  if (row === undefined) throw new Error(`no row for ${device}`)
  return row
}

describe('the rows of a latency report', () => {
  it('say where every slot stands, worst first', async () => {
    const { rows, verdicts } = await query()

    expect(rows.map(({ device, slot, verdict }) => [verdict, device.id, slot])).toEqual([
      ['failed', 'aisle-5', 'main'],
      ['missed', 'aisle-2', 'main'],
      ['infeasible', 'aisle-4', 'main'],
      ['undecided', 'till-2', 'main'],
      ['pending', 'aisle-6', 'main'],
      ['pending', 'door-1', 'main'],
      ['met', 'aisle-1', 'main'],
      ['met', 'aisle-3', 'main'],
      ['met', 'till-1', 'audio'],
      ['met', 'till-1', 'main'],
      ['cancelled', 'aisle-7', 'main'],
      ['unassigned', 'store-room', null],
    ])
    expect(verdicts).toEqual({
      failed: 1,
      missed: 1,
      infeasible: 1,
      undecided: 1,
      pending: 2,
      met: 4,
      cancelled: 1,
      unassigned: 1,
    })
  })

  it('carry what was measured there, beside fp32 and the limits', async () => {
    const { measured, baseline, speedUp, accuracy, objective, variant, device } = await rowOf('aisle-1')

    expect(device).toMatchObject({ hardwareClass: CPUS.pi4.class, cpuModel: 'Cortex-A72', online: true })
    expect(device.labels).toEqual({ shelf: '1', site: 'north' })
    expect(variant?.label).toBe('static int8 u8s8, percentile 99.99')
    expect(measured?.latencyMs.p90Bound).toBeLessThanOrEqual(objective?.latencyP90Ms ?? 0)
    expect(measured?.latencyMs.p90).toBeLessThanOrEqual(measured?.latencyMs.p90Bound ?? 0)
    expect(measured?.sizeBytes).toBeLessThan(baseline?.sizeBytes ?? 0)
    expect(speedUp?.ratio).toBeCloseTo(1 / 0.381, 6)
    expect(speedUp?.low).toBeLessThan(speedUp?.ratio ?? 0)
    expect(speedUp?.high).toBeGreaterThan(speedUp?.ratio ?? 0)
    expect(accuracy?.baseline).toBeCloseTo(0.931, 6)
    expect(accuracy?.floor).toBeCloseTo(0.99 * 0.931, 6)
    expect(accuracy?.retained?.low).toBeLessThan(accuracy?.retained?.ratio ?? 0)
  })

  it('judge the latest re-benchmark, and say what it was before and that it drifted', async () => {
    const { verdict, explanation, measured, rebenchmark, warnings } = await rowOf('aisle-2')

    expect(verdict).toBe('missed')
    expect(measured?.latencyMs.p90Bound).toBeGreaterThan(12)
    expect(rebenchmark).toMatchObject({ count: 2, drifted: true, change: { ratio: 1.16 } })
    expect(rebenchmark?.p90BoundBeforeMs).toBeLessThan(12)
    expect(explanation).toMatch(/over the budget of 12\.0 ms; it was 11\.\d ms when chosen/)
    expect(warnings.map(({ code }) => code)).toEqual(['drifted'])
  })

  it('name the nearest trial where nothing reaches the objective', async () => {
    const { nearest, explanation, measured } = await rowOf('aisle-4')

    expect(measured).toBeNull()
    // The fastest of all breaks the accuracy floor; this is the fastest that holds it.
    expect(nearest?.label).toBe('static int8 u8s8, percentile 99.99')
    expect(explanation).toContain('nearest is static int8 u8s8, percentile 99.99')
  })

  it('say what still serves where a deployment failed', async () => {
    const { serving, explanation, warnings } = await rowOf('aisle-5')

    expect(explanation).toMatch(/^disk full: .*free space/)
    expect(serving).toMatchObject({ model: { name: 'shelf-detector', version: 2 } })
    expect(serving?.p90BoundMs).toBeGreaterThan(0)
    expect(warnings.map(({ code }) => code)).toEqual(['not-serving'])
  })

  it('say of what still serves how it was last measured', async () => {
    const own = await mixedFleet()
    onTestFinished(() => own.close())
    const [served] = await own.db.selectFrom('deployments').select('id').where('device_id', '=', 'aisle-5').execute()
    await own.rebenchmark(served?.id ?? '', {
      medianMs: 40,
      change: { ratio: 3, low: 2.9, high: 3.1 },
      drifted: true,
      atMs: NOW_MS - 1,
    })

    const { rows } = await queryLatencyReport(own.db, { device: 'aisle-5' }, NOW_MS)

    expect(rows[0]?.serving).toMatchObject({ model: { version: 2 }, measuredAtMs: NOW_MS - 1 })
    expect(rows[0]?.serving?.p90BoundMs).toBeGreaterThan(39)
  })

  it('follow a search that is under way', async () => {
    const { explanation } = await rowOf('aisle-6')

    expect(explanation).toContain('searching, trial 3 of 14, best so far static int8')
  })

  it('warn of throttling, noise and silence', async () => {
    const { warnings } = await rowOf('aisle-3')

    expect(warnings.map(({ code }) => code)).toEqual(['throttled', 'noisy', 'offline'])
  })

  it('leave out boxes that do not belong to the fleet, unless one is named', async () => {
    const { rows } = await query()

    expect(rows.some(({ device }) => device.id === 'unopened')).toBe(false)
    expect(await rowOf('unopened')).toMatchObject({ verdict: 'unassigned', device: { state: 'pending' } })
  })

  it('call a deployment that was activated but not yet measured pending', async () => {
    const other = await latencyFleet()
    await other.model('m', 1)
    await other.rollout('r', { model: 'm', version: 1, objective: { latencyP90Ms: 5, minimize: 'latency' } })
    await other.device('box')
    await other.deploy({ device: 'box', rollout: 'r', row: { status: 'succeeded', outcome: 'activated' } })

    const { rows } = await queryLatencyReport(other.db, {}, NOW_MS)
    await other.close()

    expect(rows[0]).toMatchObject({ verdict: 'pending', measured: null })
    expect(rows[0]?.explanation).toMatch(/not arrived/)
  })

  it('use only what the present attempt measured', async () => {
    const other = await mixedFleet()
    await other.db
      .updateTable('deployments')
      .set({ attempt: 2, status: 'in_progress', phase: 'searching', winner_digest: null, winner_trial_id: null })
      .where('id', '=', 'detector-3-aisle-1')
      .execute()

    const { rows } = await queryLatencyReport(other.db, { device: 'aisle-1' }, NOW_MS)
    await other.close()

    expect(rows[0]).toMatchObject({ verdict: 'pending', measured: null, baseline: null, detail: { trials: [] } })
  })
})

describe('the detail of a row', () => {
  it('has every trial with its fate and the reason for it', async () => {
    const { detail } = await rowOf('aisle-1')
    const trials = new Map(detail?.trials.map((trial) => [trial.label, trial]))

    expect(detail?.trials).toHaveLength(11)
    expect(trials.get('fp32')).toMatchObject({ baseline: true, fate: 'lost', speedUp: null })
    expect(trials.get('static int8 u8s8, percentile 99.99')).toMatchObject({ fate: 'won', losses: [] })
    expect(trials.get('static int8 u8s8, minmax')).toMatchObject({
      fate: 'lost',
      losses: [{ reason: 'accuracy-below-floor' }],
    })
    expect(trials.get('static uint16 activations')).toMatchObject({ fate: 'failed', failure: { reason: 'crashed' } })
  })

  it('adds the counts of all measurements of the variant up', async () => {
    const { detail } = await rowOf('aisle-2')

    expect(detail?.variant).toMatchObject({ measurements: 3, count: 1500 })
    expect(detail?.variant?.bins.reduce((sum, { count }) => sum + count, 0)).toBe(1500)
    expect(detail?.baseline).toMatchObject({ measurements: 1, count: 500 })
  })

  it('leaves trials that are not judged yet open', async () => {
    const { detail } = await rowOf('aisle-6')

    expect(detail?.trials.filter(({ baseline }) => !baseline).map(({ fate }) => fate)).toEqual(['open', 'open', 'open'])
  })
})

describe('the groups of a latency report', () => {
  it('merge histograms of one class and model, and read percentiles from the sum', async () => {
    const { groups } = await query({ hardwareClass: CPUS.pi4.class })
    const stored = await fleet.db
      .selectFrom('measurements')
      .innerJoin('latency_histograms', 'measurement_id', 'measurements.id')
      .select(['deployment_id', 'role', 'measured_at_ms', 'histogram'])
      .where('deployment_id', 'in', ['detector-3-aisle-1', 'detector-3-aisle-2', 'detector-3-aisle-3'])
      .orderBy('measured_at_ms')
      .execute()
    // Each device counts once, with its latest measurement: aisle-2 with its second re-benchmark.
    const latest = new Map(stored.filter(({ role }) => role !== 'baseline').map((row) => [row.deployment_id, row]))
    const merged = mergeHistograms([...latest.values()].map(({ histogram }) => decodeHistogram(histogram)))

    expect(groups).toHaveLength(1)
    expect(groups[0]).toMatchObject({ devices: 7, budgetsP90Ms: [12], verdicts: { met: 2, missed: 1 } })
    expect(groups[0]?.variant).toMatchObject({ measurements: 3, count: merged.count })
    expect(groups[0]?.variant?.p90Ms).toBe((histogramQuantileNs(merged, 0.9) ?? 0) / 1e6)
    const averaged = [...latest.values()].reduce(
      (sum, { histogram }) => sum + (histogramQuantileNs(decodeHistogram(histogram), 0.9) ?? 0) / 3e6,
      0,
    )
    expect(groups[0]?.variant?.p90Ms).not.toBeCloseTo(averaged, 1)
  })

  it('keep models and classes apart', async () => {
    const { groups } = await query()

    expect(groups.map(({ cpuModel, model, devices }) => [cpuModel, model.name, devices])).toEqual([
      ['Cortex-A72', 'shelf-detector', 7],
      ['Intel(R) N100', 'shelf-detector', 2],
      ['Cortex-A76', 'shelf-detector', 1],
      ['Intel(R) N100', 'keywords', 1],
    ])
  })
})

describe('filters', () => {
  it.each([
    ['model', { model: 'keywords' }, ['till-1']],
    ['model and version', { model: 'shelf-detector@3', hardwareClass: CPUS.n100.class }, ['till-2', 'till-1']],
    ['rollout, even where another has replaced it', { rollout: 'detector-2' }, ['aisle-5']],
    ['class', { hardwareClass: CPUS.pi5.class }, ['door-1', 'store-room']],
    ['device and model together', { device: 'till-1', model: 'keywords' }, ['till-1']],
    ['two that exclude each other', { device: 'aisle-1', model: 'keywords' }, []],
    ['a version that nothing runs now', { model: 'shelf-detector@2' }, []],
  ])('narrow by %s', async (_, filters, devices) => {
    const report = await query(filters)

    expect(report.rows.map(({ device }) => device.id)).toEqual(devices)
    expect(report.filters).toEqual(filters)
  })

  it.each([
    [{ device: 'aisle-9' }, /--device: nothing is called "aisle-9"; there is aisle-1, aisle-2/],
    [{ model: 'keyword' }, /--model: .*there is keywords, shelf-detector$/],
    [{ model: 'keywords@2' }, /--model: .*there is keywords@1, shelf-detector@2, shelf-detector@3/],
    [{ rollout: 'r' }, /--rollout: .*detector-3/],
    [{ hardwareClass: 'arm64-000000000000' }, /--class: .*arm64-4f1c02aa91b7/],
  ])('refuse what does not exist and list what does: %j', async (filters, message) => {
    const refusal = await query(filters).catch((error: unknown) => error)

    expect(isEdgefitError(refusal, 'NOT_FOUND')).toBe(true)
    expect(String(refusal)).toMatch(message)
  })
})

describe('a report as JSON', () => {
  it('keeps its published shape', async () => {
    const report = await query()

    expect(LatencyReport.parse(JSON.parse(JSON.stringify(report)))).toEqual(report)
  })

  it('is empty for an empty fleet, and still says that a device is unknown', async () => {
    const empty = await latencyFleet()
    const report = await queryLatencyReport(empty.db, {}, NOW_MS)
    const refusal = await queryLatencyReport(empty.db, { device: 'x' }, NOW_MS).catch((error: unknown) => error)
    await empty.close()

    expect(report).toMatchObject({ rows: [], groups: [], verdicts: {} })
    expect(String(refusal)).toMatch(/there is none yet/)
  })

  it('leaves the trials of a large fleet out, and gives them for one of its devices', async () => {
    const large = await largeFleet(300)
    const report = await queryLatencyReport(large.db, {}, NOW_MS)
    const one = await queryLatencyReport(large.db, { device: 'site-1-box-0' }, NOW_MS)
    await large.close()

    expect(report.rows).toHaveLength(300)
    expect(report.rows.every(({ detail }) => detail === null)).toBe(true)
    expect(report.groups.map(({ devices }) => devices)).toEqual([100, 100, 100])
    expect(one.rows[0]?.detail?.trials).toHaveLength(11)
  })
})
