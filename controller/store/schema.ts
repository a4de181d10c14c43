import type { DeploymentPhase, DeploymentStatus, Outcome, ReasonCode } from '@edgefit/shared/model'
import type { ColumnType, Generated, Insertable, Kysely, Selectable } from 'kysely'

/**
 * Fleet state. Times are Unix milliseconds, sizes bytes, digests SHA-256 in lower-case hex, booleans 0 or 1.
 * A column typed `string` whose comment names a type holds that document as JSON.
 */
export interface ControllerTables {
  settings: SettingsTable
  devices: DevicesTable
  device_labels: DeviceLabelsTable
  profiles: ProfilesTable
  join_tokens: JoinTokensTable
  join_token_uses: JoinTokenUsesTable
  artifacts: ArtifactsTable
  models: ModelsTable
  datasets: DatasetsTable
  rollouts: RolloutsTable
  deployments: DeploymentsTable
  slot_goals: SlotGoalsTable
  desired_states: DesiredStatesTable
  trials: TrialsTable
  measurements: MeasurementsTable
  latency_histograms: LatencyHistogramsTable
  journals: JournalsTable
  received_reports: ReceivedReportsTable
  events: EventsTable
  /** Kysely's own record of the migrations that ran. */
  kysely_migration: { name: string; timestamp: string }
}

export type ControllerDatabase = Kysely<ControllerTables>

export const DEVICE_STATES = ['pending', 'accepted', 'rejected', 'decommissioned'] as const
export type DeviceState = (typeof DEVICE_STATES)[number]

export const ROLLOUT_STATES = ['draft', 'running', 'finished', 'aborted'] as const
export type RolloutState = (typeof ROLLOUT_STATES)[number]

export type ArtifactKind = 'model' | 'dataset'

export type MeasurementRole = 'baseline' | 'winner' | 'rebenchmark'

export const EVENT_KINDS = [
  'device-enrolled',
  'device-accepted',
  'device-rejected',
  'device-decommissioned',
  'device-labelled',
  'device-notice',
  'device-duplicated',
  'enrolment-refused',
  'token-created',
  'model-published',
  'dataset-published',
  'rollout-created',
  'rollout-started',
  'rollout-finished',
  'rollout-aborted',
  'deployment-ended',
  'deployment-retried',
  'report-unmatched',
  'report-refused',
  'latency-drifted',
] as const
export type EventKind = (typeof EVENT_KINDS)[number]

/** Small single values: the fleet's name. */
interface SettingsTable {
  key: string
  value: string
}

interface DevicesTable {
  id: string
  state: DeviceState
  /** Ed25519, the JWK `x` value. */
  public_key: string
  agent_version: string
  enrolled_at_ms: number
  /** When `state` last changed. */
  state_changed_at_ms: number
  online: number
  /** Of the newest birth: a will that carries another one is late and ignored. */
  session: string | null
  last_seen_ms: number | null
  hardware_class: string | null
}

/** `operator` labels hide a device's own label of the same key. */
interface DeviceLabelsTable {
  device_id: string
  key: string
  value: string
  origin: 'device' | 'operator'
}

/** A row per change, newest last; the newest row is the box as it is. */
interface ProfilesTable {
  id: Generated<number>
  device_id: string
  hardware_class: string
  architecture: string
  cpu_model: string
  /** Profile */
  profile: string
  received_at_ms: number
}

interface JoinTokensTable {
  id: string
  secret_hash: string
  created_at_ms: number
  expires_at_ms: number
  /** How many devices may enrol with it; null: as many as come before it expires. */
  max_uses: number | null
}

/** A device that comes again with the same token uses it up once. */
interface JoinTokenUsesTable {
  token_id: string
  device_id: string
  used_at_ms: number
}

interface ArtifactsTable {
  digest: string
  size_bytes: number
  kind: ArtifactKind
  manifest_digest: string
  manifest_size_bytes: number
  created_at_ms: number
}

interface ModelsTable {
  name: string
  version: number
  artifact_digest: string
  /** Task */
  task: string
  /** TensorSpec[] */
  inputs: string
  /** TensorSpec[] */
  outputs: string
  published_at_ms: number
}

interface DatasetsTable {
  name: string
  version: number
  artifact_digest: string
  /** Samples: the first dimension of every array. */
  sample_count: number
  /** {name, dtype, shape}[] of the arrays, labels included; shapes are of one sample. */
  arrays: string
  has_labels: number
  /** Smallest and largest of integer labels: what a model's classes are checked against. */
  label_min: number | null
  label_max: number | null
  published_at_ms: number
}

interface RolloutsTable {
  id: string
  state: RolloutState
  slot: string
  model_name: string
  model_version: number
  dataset_name: string
  dataset_version: number
  /** SplitSpec */
  split: string
  /** Objective */
  objective: string
  /** As typed: `site=lab,arch=arm64`. */
  selector: string
  /** DeploymentGoal.search */
  search: string
  /** DeploymentGoal.schedule */
  schedule: string
  created_at_ms: number
  started_at_ms: number | null
  ended_at_ms: number | null
}

interface DeploymentsTable {
  id: string
  rollout_id: string
  device_id: string
  slot: string
  attempt: number
  status: DeploymentStatus
  phase: DeploymentPhase | null
  reason: ReasonCode | null
  message: string | null
  outcome: Outcome | null
  /** Variant that serves in the slot, by the device's last word. */
  running_digest: string | null
  /** StatusReport.progress */
  progress: string | null
  /** Who gave the status: a device's terminal status replaces a `timed_out` of the controller. */
  status_by: 'controller' | 'device'
  /** Position of the newest status report applied, to drop what arrives late. See {@link JournalsTable}. */
  status_position: number | null
  /** ResultReport.verdict of this attempt. */
  verdict: 'met' | 'infeasible' | null
  /** string[] */
  verdict_reasons: string | null
  winner_digest: string | null
  winner_trial_id: number | null
  /** ResultReport.losses: for trials that arrive after the result. */
  final_losses: string | null
  /** Position of the newest result report applied. */
  result_position: number | null
  created_at_ms: number
  /** First `in_progress` of this attempt. */
  started_at_ms: number | null
  phase_started_at_ms: number
  last_report_at_ms: number | null
  ended_at_ms: number | null
}

/** The deployment that a device's slot is to run; no row: the slot is to be empty. */
interface SlotGoalsTable {
  device_id: string
  slot: string
  deployment_id: string
}

/** The goal a device last got: sent again as it is until its content changes or it nears its expiry. */
interface DesiredStatesTable {
  device_id: string
  version: number
  issued_at_ms: number
  expires_at_ms: number
  /** DesiredState.slots */
  slots: string
}

interface TrialsTable {
  deployment_id: string
  attempt: number
  trial_id: number
  recipe_digest: string
  label: string | null
  outcome: 'measured' | 'failed'
  /** Of a measured trial. */
  p90_bound_ms: number | null
  accuracy: number | null
  size_bytes: number | null
  /** Trial, with `losses` as first reported; see the column `losses`. */
  trial: string
  /** LossReason[]: the final ones once the result is known. */
  losses: string
  /** Position of the report this came from: a trial repeated after an interruption replaces the first. */
  position: number
}

interface MeasurementsTable {
  id: Generated<number>
  deployment_id: string
  attempt: number
  device_id: string
  role: MeasurementRole
  /** Class of the device when it was measured. */
  hardware_class: string | null
  /** Of the winner. Null for the baseline, the source model, and for a re-benchmark, which is of the deployment's winner. */
  variant_digest: string | null
  measured_at_ms: number
  p50_ms: number
  p90_ms: number
  p99_ms: number
  p90_bound_ms: number
  run_count: number
  accuracy_metric: string | null
  accuracy: number | null
  size_bytes: number
  peak_rss_bytes: number
  /** Measurement, its `histogram` an empty string: that one is in latency_histograms. */
  measurement: string
  /** RebenchmarkReport.change, of a re-benchmark. */
  change: string | null
  drifted: number | null
  /** Position of the report this came from: a result told twice counts once, as the newer report has it. */
  position: number
}

interface LatencyHistogramsTable {
  measurement_id: number
  /** EncodedHistogram */
  histogram: string
}

/**
 * Outboxes a device has had: a wiped one starts a new journal at sequence 1. `rank` counts them from 0, so that a
 * report's position, `rank * 1e12 + seq`, orders all reports of a device.
 */
interface JournalsTable {
  device_id: string
  journal: string
  rank: number
}

/** Every report of the last month once: none is applied twice. */
interface ReceivedReportsTable {
  /** SQLite's own number of the row. */
  rowid: ColumnType<number, never, never>
  device_id: string
  position: number
  received_at_ms: number
}

/** Append-only, held so by triggers. `actor`: `operator`, `controller` or `device:ID`. */
interface EventsTable {
  id: Generated<number>
  at_ms: ColumnType<number, number, never>
  actor: ColumnType<string, string, never>
  kind: ColumnType<EventKind, EventKind, never>
  /** `device:ID`, `rollout:ID`, `deployment:ID`, `model:NAME@VERSION` … */
  subject: ColumnType<string, string, never>
  data: ColumnType<string, string, never>
}

export type DeviceRow = Selectable<DevicesTable>
export type RolloutRow = Selectable<RolloutsTable>
export type DeploymentRow = Selectable<DeploymentsTable>
export type NewDeploymentRow = Insertable<DeploymentsTable>
