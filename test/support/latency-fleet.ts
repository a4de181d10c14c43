import { createHash } from 'node:crypto'
import type { LossReason, Measurement, Objective, Recipe, Trial } from '@edgefit/shared/model'
import { seededRandom } from '@edgefit/shared/stats'
import { insertMeasurement, insertTrial } from '../../controller/fleet/results.ts'
import { openStore } from '../../controller/store/open-store.ts'
import type { ControllerDatabase, MeasurementRole, NewDeploymentRow } from '../../controller/store/schema.ts'
import { EVALUATION_SAMPLES, sampledMeasurement } from './sampled-measurement.ts'

/** A fleet in a real store, filled with documents such as devices send. Latencies are seeded and log-normal. */

export const NOW_MS = Date.UTC(2026, 6, 29, 14, 2)
const HOUR_MS = 3_600_000

export interface LatencyFleet {
  readonly db: ControllerDatabase
  model(name: string, version: number): Promise<void>
  rollout(id: string, options: RolloutOptions): Promise<void>
  device(id: string, options?: DeviceOptions): Promise<void>
  deploy(options: DeployOptions): Promise<string>
  rebenchmark(deploymentId: string, options: RebenchmarkOptions): Promise<void>
  close(): Promise<void>
}

interface RolloutOptions {
  readonly model: string
  readonly version: number
  readonly objective: Objective
}

interface DeviceOptions {
  readonly state?: 'pending' | 'accepted' | 'rejected' | 'decommissioned'
  readonly cpu?: keyof typeof CPUS
  readonly labels?: Readonly<Record<string, string>>
  readonly online?: boolean
  readonly lastSeenMs?: number
  readonly profiled?: boolean
}

interface DeployOptions {
  readonly device: string
  readonly rollout: string
  readonly slot?: string
  /** Columns that differ from a deployment that is queued. */
  readonly row?: Partial<NewDeploymentRow>
  readonly search?: SearchOptions
  /** Whether the slot is to run this deployment now; true by default. */
  readonly goal?: boolean
}

interface SearchOptions {
  readonly baselineMs: number
  readonly baselineAccuracy: number
  readonly candidates: readonly CandidateOptions[]
  readonly spread?: number
  readonly throttled?: boolean
}

export interface CandidateOptions {
  readonly label: string
  /** Times fp32's latency. Absent: the trial failed. */
  readonly ratio?: number
  readonly accuracyLost?: number
  readonly sizeRatio?: number
  readonly failure?: Extract<Trial['outcome'], { kind: 'failed' }>
  readonly losses?: LossReason[]
  readonly won?: boolean
}

interface RebenchmarkOptions {
  readonly medianMs: number
  readonly change: { readonly ratio: number; readonly low: number; readonly high: number }
  readonly drifted: boolean
  readonly atMs?: number
}

export const CPUS = {
  pi4: { class: 'arm64-4f1c02aa91b7', model: 'Cortex-A72' },
  pi5: { class: 'arm64-a76d0b51c3e8', model: 'Cortex-A76' },
  n100: { class: 'x64-93bd5570e1fa', model: 'Intel(R) N100' },
} as const

const SOURCE_SIZE_BYTES = 9_100_000

export async function latencyFleet(path = ':memory:'): Promise<LatencyFleet> {
  const db = await openStore(path)
  await db.insertInto('artifacts').values(artifact('dataset')).execute()
  await db.insertInto('datasets').values(DATASET).execute()
  return {
    db,
    model: (name, version) => insertModel(db, name, version),
    rollout: (id, options) => insertRollout(db, id, options),
    device: (id, options = {}) => insertDevice(db, id, options),
    deploy: (options) => insertDeployment(db, options),
    rebenchmark: (id, options) => insertRebenchmark(db, id, options),
    close: () => db.destroy(),
  }
}

const DATASET = {
  name: 'shelf-images',
  version: 1,
  artifact_digest: digestOf('dataset'),
  sample_count: 4000,
  arrays: '[]',
  has_labels: 1,
  published_at_ms: NOW_MS - 900 * HOUR_MS,
}

async function insertModel(db: ControllerDatabase, name: string, version: number): Promise<void> {
  await db
    .insertInto('artifacts')
    .values(artifact(`${name}@${version}`))
    .execute()
  await db
    .insertInto('models')
    .values({
      name,
      version,
      artifact_digest: digestOf(`${name}@${version}`),
      task: JSON.stringify({ kind: 'classification' }),
      inputs: '[]',
      outputs: '[]',
      published_at_ms: NOW_MS - 800 * HOUR_MS,
    })
    .execute()
}

async function insertRollout(db: ControllerDatabase, id: string, options: RolloutOptions): Promise<void> {
  await db
    .insertInto('rollouts')
    .values({
      id,
      state: 'running',
      slot: 'main',
      model_name: options.model,
      model_version: options.version,
      dataset_name: DATASET.name,
      dataset_version: DATASET.version,
      split: JSON.stringify({ seed: 0, calibration: 200, tuning: 1000, evaluation: EVALUATION_SAMPLES }),
      objective: JSON.stringify(options.objective),
      selector: '',
      search: JSON.stringify({ budgetS: 600, seed: 0 }),
      schedule: JSON.stringify({ rebenchmarkCron: null, maintenance: null }),
      created_at_ms: NOW_MS - 72 * HOUR_MS,
      started_at_ms: NOW_MS - 71 * HOUR_MS,
      ended_at_ms: null,
    })
    .execute()
}

async function insertDevice(db: ControllerDatabase, id: string, options: DeviceOptions): Promise<void> {
  const cpu = CPUS[options.cpu ?? 'pi4']
  const profiled = options.profiled ?? true
  await db
    .insertInto('devices')
    .values({
      id,
      state: options.state ?? 'accepted',
      public_key: digestOf(id).slice(0, 43),
      agent_version: '0.1.0',
      enrolled_at_ms: NOW_MS - 500 * HOUR_MS,
      state_changed_at_ms: NOW_MS - 499 * HOUR_MS,
      online: (options.online ?? true) ? 1 : 0,
      session: null,
      last_seen_ms: options.lastSeenMs ?? NOW_MS - 40_000,
      hardware_class: profiled ? cpu.class : null,
    })
    .execute()
  for (const [key, value] of Object.entries(options.labels ?? {})) {
    await db.insertInto('device_labels').values({ device_id: id, key, value, origin: 'operator' }).execute()
  }
  if (!profiled) return
  await db
    .insertInto('profiles')
    .values({
      device_id: id,
      hardware_class: cpu.class,
      architecture: cpu.class.startsWith('arm64') ? 'arm64' : 'x64',
      cpu_model: cpu.model,
      profile: '{}',
      received_at_ms: NOW_MS - 400 * HOUR_MS,
    })
    .execute()
}

async function insertDeployment(db: ControllerDatabase, options: DeployOptions): Promise<string> {
  const { device, rollout, slot = 'main', search, goal = true } = options
  const id = `${rollout}-${device}${slot === 'main' ? '' : `-${slot}`}`
  const winnerId = search?.candidates.findIndex(({ won }) => won) ?? -1
  await db
    .insertInto('deployments')
    .values({
      id,
      rollout_id: rollout,
      device_id: device,
      slot,
      attempt: 1,
      status: 'queued',
      status_by: 'device',
      created_at_ms: NOW_MS - 70 * HOUR_MS,
      phase_started_at_ms: NOW_MS - 70 * HOUR_MS,
      ...(winnerId >= 0 && {
        status: 'succeeded',
        reason: 'objective-met',
        outcome: 'activated',
        verdict: 'met',
        winner_trial_id: winnerId + 1,
        winner_digest: digestOf(`${id}/${winnerId + 1}`),
        running_digest: digestOf(`${id}/${winnerId + 1}`),
        ended_at_ms: NOW_MS - 60 * HOUR_MS,
      }),
      ...options.row,
    })
    .execute()
  if (goal) {
    await db
      .insertInto('slot_goals')
      .values({ device_id: device, slot, deployment_id: id })
      .onConflict((conflict) => conflict.columns(['device_id', 'slot']).doUpdateSet({ deployment_id: id }))
      .execute()
  }
  if (search) await insertSearch(db, id, device, search)
  return id
}

async function insertSearch(db: ControllerDatabase, id: string, device: string, search: SearchOptions): Promise<void> {
  const random = seededRandom(id.length * 7919 + device.charCodeAt(device.length - 1))
  const spread = search.spread ?? 0.02
  const measure = (ratio: number, lost: number, sizeRatio: number, split: Measurement['split']) =>
    sampledMeasurement(random, {
      medianMs: search.baselineMs * ratio,
      spread,
      accuracy: search.baselineAccuracy - lost,
      baselineAccuracy: search.baselineAccuracy,
      ratio,
      sizeBytes: Math.round(SOURCE_SIZE_BYTES * sizeRatio),
      split,
      throttled: search.throttled ?? false,
      atMs: NOW_MS - 60 * HOUR_MS,
    })
  const baseline = (split: Measurement['split']): Measurement => {
    const { againstBaseline: _, ...rest } = measure(1, 0, 1, split)
    return rest
  }
  await storeTrial(
    db,
    id,
    trialOf(
      0,
      recipe('fp32', []),
      { kind: 'measured', variant: variantOf(id, 0, 1), measurement: baseline('tuning') },
      [{ reason: 'too-slow', detail: 'p90 above the budget' }],
    ),
  )
  await storeMeasurement(db, { id, device, role: 'baseline', digest: null, measurement: baseline('evaluation') })
  for (const [index, candidate] of search.candidates.entries()) {
    const trialId = index + 1
    const { label, ratio, accuracyLost = 0, sizeRatio = 0.27, failure, losses = [], won } = candidate
    const outcome: Trial['outcome'] =
      ratio === undefined
        ? (failure ?? { kind: 'failed', reason: 'crashed', message: 'the child process ended with signal SIGILL' })
        : {
            kind: 'measured',
            variant: variantOf(id, trialId, sizeRatio),
            measurement: measure(ratio, accuracyLost, sizeRatio, 'tuning'),
          }
    await storeTrial(db, id, trialOf(trialId, recipe(label, [QUANTIZE]), outcome, losses))
    if (!won || ratio === undefined) continue
    const measurement = measure(ratio, accuracyLost, sizeRatio, 'evaluation')
    await storeMeasurement(db, { id, device, role: 'winner', digest: digestOf(`${id}/${trialId}`), measurement })
  }
}

async function insertRebenchmark(db: ControllerDatabase, id: string, options: RebenchmarkOptions): Promise<void> {
  const winner = await db
    .selectFrom('measurements')
    .selectAll()
    .where('deployment_id', '=', id)
    .where('role', '=', 'winner')
    .executeTakeFirstOrThrow()
  const measurement = sampledMeasurement(seededRandom(11), {
    medianMs: options.medianMs,
    spread: 0.025,
    accuracy: 0.9,
    baselineAccuracy: 0.9,
    ratio: 1,
    sizeBytes: winner.size_bytes,
    split: 'evaluation',
    throttled: false,
    atMs: options.atMs ?? NOW_MS - 3 * HOUR_MS,
  })
  await storeMeasurement(db, {
    id,
    device: winner.device_id,
    role: 'rebenchmark',
    digest: null,
    measurement: { ...measurement, accuracy: null },
    rebenchmark: { change: options.change, drifted: options.drifted },
  })
}

interface StoredMeasurement {
  readonly id: string
  readonly device: string
  readonly role: MeasurementRole
  readonly digest: string | null
  readonly measurement: Measurement
  readonly rebenchmark?: Pick<RebenchmarkOptions, 'change' | 'drifted'>
}

async function storeMeasurement(db: ControllerDatabase, stored: StoredMeasurement): Promise<void> {
  const { id: deployment, device: deviceId, role, digest: variantDigest, measurement, rebenchmark } = stored
  const device = await db.selectFrom('devices').selectAll().where('id', '=', deviceId).executeTakeFirstOrThrow()
  await insertMeasurement(db, {
    deployment,
    attempt: 1,
    device,
    role,
    variantDigest,
    measurement,
    position: measurement.measuredAtMs,
    ...(rebenchmark && { rebenchmark }),
  })
}

function storeTrial(db: ControllerDatabase, deployment: string, trial: Trial): Promise<void> {
  const { losses, id } = trial
  return insertTrial(db, { deployment, attempt: 1, trial: { ...trial, losses: [] }, losses, position: id + 1 })
}

const QUANTIZE: Recipe['passes'][number] = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  calibration: { method: 'minmax', samples: 200 },
  exclude: [],
}

function recipe(label: string, passes: Recipe['passes']): Recipe {
  return { schemaVersion: 1, label, passes, runtime: { intraOpThreads: 4, allowSpinning: false, memoryArena: true } }
}

function trialOf(id: number, ofRecipe: Recipe, outcome: Trial['outcome'], losses: LossReason[]): Trial {
  return { id, recipe: ofRecipe, recipeDigest: digestOf(`recipe ${id}`), outcome, losses, durationMs: 21_000 }
}

function variantOf(deploymentId: string, trialId: number, sizeRatio: number) {
  return { digest: digestOf(`${deploymentId}/${trialId}`), sizeBytes: Math.round(SOURCE_SIZE_BYTES * sizeRatio) }
}

function artifact(name: string) {
  return {
    digest: digestOf(name),
    size_bytes: SOURCE_SIZE_BYTES,
    kind: name === 'dataset' ? ('dataset' as const) : ('model' as const),
    manifest_digest: digestOf(`${name} manifest`),
    manifest_size_bytes: 900,
    created_at_ms: NOW_MS - 900 * HOUR_MS,
  }
}

export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
