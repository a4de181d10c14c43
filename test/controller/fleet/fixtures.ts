import type { Measurement, Objective, Profile, Trial } from '@edgefit/shared/model'
import type { Presence, Report, ReportBatch, ReportBody, StatusReport } from '@edgefit/shared/protocol'
import { EMPTY_HISTOGRAM, encodeHistogram } from '@edgefit/shared/stats'
import { openStore } from '../../../controller/store/open-store.ts'
import type { ControllerDatabase, NewDeploymentRow } from '../../../controller/store/schema.ts'

export const NOW_MS = 1_760_000_000_000
export const SESSION = 'session-0001'
const JOURNAL = 'journal-0001'

export function digest(seed: number): string {
  return seed.toString(16).padStart(64, '0')
}

export function profile(overrides: Partial<Profile> = {}): Profile {
  return {
    hardwareClass: 'a72-0123456789ab',
    cpu: {
      architecture: 'arm64',
      model: 'Cortex-A72',
      features: ['asimddp'],
      cores: [{ kind: 'cortex-a72', count: 4, maxMhz: 1800 }],
      logicalCores: 4,
      cachesBytes: { l1d: 32768, l2: 1048576, l3: null },
    },
    memoryBytes: 4 * 2 ** 30,
    os: { name: 'Debian 12', kernel: '6.1', libc: 'glibc 2.36' },
    limits: { cpus: 4, memoryBytes: null, source: 'none' },
    governor: 'performance',
    temperatureC: 45,
    runtimeVersion: '1.30.0',
    agentVersion: '0.1.0',
    measured: null,
    ...overrides,
  }
}

export function presence(overrides: Partial<Presence> = {}): Presence {
  return { v: 1, online: true, session: SESSION, atMs: NOW_MS, agentVersion: '0.1.0', labels: {}, ...overrides }
}

export function measurement(overrides: Partial<Measurement> = {}): Measurement {
  return {
    latencyMs: { p50: 4, p90: 5, p99: 6, p90Bound: 5.2, count: 500 },
    accuracy: { metric: 'top1', value: 0.91, low: 0.89, high: 0.93, count: 1000 },
    sizeBytes: 100_000,
    peakRssBytes: 80_000_000,
    loadMs: 12,
    threads: 1,
    throttled: false,
    noise: 0.02,
    histogram: encodeHistogram(EMPTY_HISTOGRAM),
    split: 'evaluation',
    runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    runtimeVersion: '1.30.0',
    temperatureC: { before: 40, after: 44 },
    measuredAtMs: NOW_MS,
    ...overrides,
  }
}

export function trial(id: number, overrides: Partial<Trial> = {}): Trial {
  return {
    id,
    recipe: {
      schemaVersion: 1,
      label: id === 0 ? 'fp32' : `recipe ${id}`,
      passes: [],
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    },
    recipeDigest: digest(id + 1),
    outcome: { kind: 'measured', variant: { digest: digest(id + 100), sizeBytes: 1000 }, measurement: measurement() },
    losses: [],
    durationMs: 1500,
    ...overrides,
  }
}

export function status(overrides: Partial<StatusReport> = {}): StatusReport {
  return {
    kind: 'status',
    deploymentId: 'r1-1',
    attempt: 1,
    slot: 'default',
    status: 'in_progress',
    phase: 'downloading',
    reason: null,
    message: null,
    outcome: null,
    running: null,
    progress: null,
    ...overrides,
  }
}

export function report(seq: number, body: ReportBody): Report {
  return { seq, atMs: NOW_MS + seq, body }
}

export function batchOf(reports: Report[], journal = JOURNAL): ReportBatch {
  return { v: 1, session: SESSION, journal, reports }
}

export const OBJECTIVE: Objective = { latencyP90Ms: 10, minimize: 'latency' }

/** Model `net` 1 and dataset `data` 1, without files. */
export async function insertCatalog(db: ControllerDatabase): Promise<void> {
  const manifest = { manifest_digest: digest(9), manifest_size_bytes: 100, created_at_ms: NOW_MS }
  await db
    .insertInto('artifacts')
    .values([
      { digest: digest(1), size_bytes: 1000, kind: 'model', ...manifest },
      { digest: digest(2), size_bytes: 2000, kind: 'dataset', ...manifest },
    ])
    .execute()
  await db
    .insertInto('models')
    .values({
      name: 'net',
      version: 1,
      artifact_digest: digest(1),
      task: JSON.stringify({ kind: 'classification' }),
      inputs: JSON.stringify([{ name: 'x', type: 'float32', dims: ['n', 4] }]),
      outputs: JSON.stringify([{ name: 'y', type: 'float32', dims: ['n', 2] }]),
      published_at_ms: NOW_MS,
    })
    .execute()
  await db
    .insertInto('datasets')
    .values({
      name: 'data',
      version: 1,
      artifact_digest: digest(2),
      sample_count: 1000,
      arrays: JSON.stringify([{ name: 'x', dtype: 'float32', shape: [4] }]),
      label_min: 0,
      label_max: 1,
      has_labels: 1,
      published_at_ms: NOW_MS,
    })
    .execute()
}

export async function insertDevice(
  db: ControllerDatabase,
  id: string,
  overrides: { readonly state?: 'pending' | 'accepted'; readonly online?: number } = {},
): Promise<void> {
  await db
    .insertInto('devices')
    .values({
      id,
      state: overrides.state ?? 'accepted',
      public_key: 'k'.repeat(43),
      agent_version: '0.1.0',
      enrolled_at_ms: NOW_MS,
      state_changed_at_ms: NOW_MS,
      online: overrides.online ?? 1,
      session: SESSION,
      last_seen_ms: NOW_MS,
      hardware_class: null,
    })
    .execute()
}

async function insertRollout(db: ControllerDatabase, id: string): Promise<void> {
  await db
    .insertInto('rollouts')
    .values({
      id,
      state: 'running',
      slot: 'default',
      model_name: 'net',
      model_version: 1,
      dataset_name: 'data',
      dataset_version: 1,
      split: JSON.stringify({ seed: 0, calibration: 100, tuning: 100, evaluation: 800 }),
      objective: JSON.stringify(OBJECTIVE),
      selector: 'all',
      search: JSON.stringify({ budgetS: 600, seed: 0 }),
      schedule: JSON.stringify({ rebenchmarkCron: null, maintenance: null }),
      created_at_ms: NOW_MS,
      started_at_ms: NOW_MS,
      ended_at_ms: null,
    })
    .execute()
}

export function deploymentRow(overrides: Partial<NewDeploymentRow> = {}): NewDeploymentRow {
  return {
    id: 'r1-1',
    rollout_id: 'r1',
    device_id: 'pi-1',
    slot: 'default',
    attempt: 1,
    status: 'queued',
    status_by: 'controller',
    created_at_ms: NOW_MS,
    phase_started_at_ms: NOW_MS,
    ...overrides,
  }
}

/** Device `pi-1`, rollout `r1` and its deployment `r1-1`. */
export async function openFleet(path = ':memory:'): Promise<ControllerDatabase> {
  const db = await openStore(path)
  await insertCatalog(db)
  await insertDevice(db, 'pi-1')
  await insertRollout(db, 'r1')
  await db.insertInto('deployments').values(deploymentRow()).execute()
  return db
}
