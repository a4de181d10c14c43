import { parseJsonWith } from '@edgefit/shared'
import { LatencyRatio, LossReason, Measurement, Recipe } from '@edgefit/shared/model'
import { decodeHistogram, type LatencyHistogram } from '@edgefit/shared/stats'
import * as z from 'zod'
import type { ControllerDatabase, DeploymentRow, MeasurementRole } from '../store/schema.ts'
import { groupBy } from './group-by.ts'

/** What a device measured for one deployment, in its present attempt. */
export interface Evidence {
  readonly baseline: StoredMeasurement | undefined
  readonly winner: StoredMeasurement | undefined
  readonly winnerLabel: string | undefined
  readonly lastRebenchmark: StoredMeasurement | undefined
  readonly rebenchmarks: number
  /** Measured trials in brief; loaded only where nothing was chosen. */
  readonly candidates: readonly TrialBrief[]
}

export interface StoredMeasurement {
  readonly measurement: Measurement
  readonly histogram: LatencyHistogram
  /** Of a re-benchmark: its latency over that of the choice. */
  readonly change: LatencyRatio | null
  readonly drifted: boolean
}

interface TrialBrief {
  readonly label: string
  readonly p90BoundMs: number
  readonly accuracy: number | null
  readonly losses: readonly LossReason[]
}

// SQLite binds at most 32766 parameters a statement, PostgreSQL 65535.
const IDS_PER_QUERY = 1000

/** Evidence by deployment id. Of several re-benchmarks only the last one's figures are loaded. */
export async function loadEvidence(
  db: ControllerDatabase,
  deployments: readonly DeploymentRow[],
): Promise<Map<string, Evidence>> {
  const unchosen = deployments.filter((deployment) => deployment.winner_digest === null)
  const [newest, labels, candidates] = await Promise.all([
    inChunks(deployments, (ids) => newestMeasurements(db, ids)),
    inChunks(deployments, (ids) => winnerLabels(db, ids)),
    inChunks(unchosen, (ids) => measuredTrials(db, ids)),
  ])
  const stored = new Map<number, StoredMeasurement>()
  for (const chunk of chunksOf(newest.map(({ id }) => id))) {
    for (const [id, measurement] of await measurementsById(db, chunk)) stored.set(id, measurement)
  }
  const labelOf = new Map(labels.map(({ deployment_id, ...trial }) => [deployment_id, trialLabel(trial)]))
  const byDeployment = groupBy(newest, ({ deployment_id }) => deployment_id)
  const trialsOf = groupBy(candidates, ({ deployment_id }) => deployment_id)
  return new Map(
    deployments.map(({ id }) => {
      const measurements = byDeployment.get(id) ?? []
      const find = (role: MeasurementRole) => measurements.find((measurement) => measurement.role === role)
      const of = (role: MeasurementRole) => stored.get(find(role)?.id ?? -1)
      return [
        id,
        {
          baseline: of('baseline'),
          winner: of('winner'),
          winnerLabel: labelOf.get(id),
          lastRebenchmark: of('rebenchmark'),
          rebenchmarks: Number(find('rebenchmark')?.count ?? 0),
          candidates: (trialsOf.get(id) ?? []).map(toBrief),
        },
      ]
    }),
  )
}

/** Every measurement of one role or more for one deployment's present attempt, oldest first. */
export async function loadHistograms(
  db: ControllerDatabase,
  deployment: DeploymentRow,
  roles: readonly MeasurementRole[],
): Promise<LatencyHistogram[]> {
  const rows = await db
    .selectFrom('measurements')
    .innerJoin('latency_histograms', 'latency_histograms.measurement_id', 'measurements.id')
    .select('latency_histograms.histogram')
    .where('deployment_id', '=', deployment.id)
    .where('attempt', '=', deployment.attempt)
    .where('role', 'in', roles)
    .orderBy('measurements.id')
    .execute()
  return rows.map(({ histogram }) => decodeHistogram(histogram))
}

/** A recipe's own label, else what it does; `trial` holds the Trial document. */
function trialLabel({ label, trial }: { readonly label: string | null; readonly trial: string }): string {
  if (label !== null) return label
  return recipeLabel(parseJsonWith(z.object({ recipe: Recipe }), trial, 'stored trial', 'INTERNAL').recipe)
}

export function recipeLabel(recipe: Recipe): string {
  return recipe.label ?? (recipe.passes.length === 0 ? 'fp32' : recipe.passes.map(({ pass }) => pass).join(' + '))
}

function newestMeasurements(db: ControllerDatabase, deploymentIds: readonly string[]) {
  return db
    .selectFrom('measurements')
    .innerJoin('deployments', (join) =>
      join
        .onRef('deployments.id', '=', 'measurements.deployment_id')
        .onRef('deployments.attempt', '=', 'measurements.attempt'),
    )
    .select(({ fn }) => [
      'measurements.deployment_id',
      'measurements.role',
      fn.max('measurements.id').as('id'),
      fn.countAll().as('count'),
    ])
    .where('measurements.deployment_id', 'in', deploymentIds)
    .groupBy(['measurements.deployment_id', 'measurements.role'])
    .execute()
}

async function measurementsById(
  db: ControllerDatabase,
  ids: readonly number[],
): Promise<(readonly [number, StoredMeasurement])[]> {
  const rows = await db
    .selectFrom('measurements')
    .innerJoin('latency_histograms', 'latency_histograms.measurement_id', 'measurements.id')
    .select(['measurements.id', 'measurement', 'change', 'drifted', 'latency_histograms.histogram'])
    .where('measurements.id', 'in', ids)
    .execute()
  return rows.map((row) => [
    row.id,
    {
      measurement: parseJsonWith(Measurement, row.measurement, `stored measurement ${row.id}`, 'INTERNAL'),
      histogram: decodeHistogram(row.histogram),
      change:
        row.change === null ? null : parseJsonWith(LatencyRatio, row.change, `stored change ${row.id}`, 'INTERNAL'),
      drifted: row.drifted === 1,
    },
  ])
}

function winnerLabels(db: ControllerDatabase, deploymentIds: readonly string[]) {
  return db
    .selectFrom('deployments')
    .innerJoin('trials', (join) =>
      join
        .onRef('trials.deployment_id', '=', 'deployments.id')
        .onRef('trials.attempt', '=', 'deployments.attempt')
        .onRef('trials.trial_id', '=', 'deployments.winner_trial_id'),
    )
    .select(['trials.deployment_id', 'trials.label', 'trials.trial'])
    .where('deployments.id', 'in', deploymentIds)
    .execute()
}

function measuredTrials(db: ControllerDatabase, deploymentIds: readonly string[]) {
  return db
    .selectFrom('trials')
    .innerJoin('deployments', (join) =>
      join.onRef('deployments.id', '=', 'trials.deployment_id').onRef('deployments.attempt', '=', 'trials.attempt'),
    )
    .select(['deployment_id', 'label', 'trial', 'p90_bound_ms', 'accuracy', 'losses'])
    .where('deployment_id', 'in', deploymentIds)
    .where('trials.outcome', '=', 'measured')
    .orderBy('trial_id')
    .execute()
}

function toBrief(row: Awaited<ReturnType<typeof measuredTrials>>[number]): TrialBrief {
  return {
    label: trialLabel(row),
    p90BoundMs: row.p90_bound_ms ?? Number.POSITIVE_INFINITY,
    accuracy: row.accuracy,
    losses: parseJsonWith(z.array(LossReason), row.losses, `stored losses of ${row.deployment_id}`, 'INTERNAL'),
  }
}

async function inChunks<Row>(
  deployments: readonly DeploymentRow[],
  query: (ids: readonly string[]) => Promise<Row[]>,
): Promise<Row[]> {
  const results: Row[] = []
  for (const ids of chunksOf(deployments.map(({ id }) => id))) results.push(...(await query(ids)))
  return results
}

function chunksOf<Item>(items: readonly Item[]): Item[][] {
  return Array.from({ length: Math.ceil(items.length / IDS_PER_QUERY) }, (_, index) =>
    items.slice(index * IDS_PER_QUERY, (index + 1) * IDS_PER_QUERY),
  )
}
