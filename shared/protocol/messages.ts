import * as z from 'zod'
import {
  ArtifactRef,
  DeploymentPhase,
  DeploymentStatus,
  Digest,
  Labels,
  Measurement,
  Name,
  Objective,
  Outcome,
  Profile,
  ReasonCode,
  SplitSpec,
  Task,
  Trial,
} from '../model/index.ts'

/**
 * Message documents. Unlike configuration these are lenient: a field unknown to this version is dropped, so
 * that an older peer can read a newer one's message.
 */

const Session = z.string().min(8).max(64)

/** `up/presence`. The will carries the same session id as the birth: a will of another session is ignored. */
export const Presence = z.object({
  v: z.int(),
  online: z.boolean(),
  session: Session,
  atMs: z.int(),
  agentVersion: z.string().max(64),
  labels: Labels,
  /** Named anew by each process of the agent: one that comes back after another has replaced it is a second box. */
  instance: Session.optional(),
  /** Highest desired version accepted so far: a controller restored from a backup must go on above it. */
  desiredVersion: z.int().nonnegative().optional(),
})
export type Presence = z.infer<typeof Presence>

/** `controller`. Devices that see `online` with a session they have not met announce themselves again. */
export const ControllerPresence = z.object({ v: z.int(), online: z.boolean(), session: Session, atMs: z.int() })
export type ControllerPresence = z.infer<typeof ControllerPresence>

export const ProfileMessage = z.object({ v: z.int(), session: Session, profile: Profile })
export type ProfileMessage = z.infer<typeof ProfileMessage>

/** What a device downloads, searches and activates in one slot. */
export const DeploymentGoal = z.object({
  deploymentId: Name,
  rolloutId: Name,
  /** Raised by a retry: a device that ended attempt 1 starts again on attempt 2. */
  attempt: z.int().positive(),
  model: z.object({ name: Name, version: z.int().positive(), task: Task, artifact: ArtifactRef }),
  dataset: z.object({ name: Name, version: z.int().positive(), artifact: ArtifactRef, split: SplitSpec }),
  objective: Objective,
  search: z.object({ budgetS: z.int().positive(), seed: z.int().nonnegative() }),
  /** Five-field cron expressions in the device's local time zone. */
  schedule: z.object({
    rebenchmarkCron: z.string().nullable(),
    maintenance: z.object({ cron: z.string(), durationMin: z.int().positive() }).nullable(),
  }),
})
export type DeploymentGoal = z.infer<typeof DeploymentGoal>

/** `down/desired`, the payload of a compact JWS by the controller's key. A slot that is absent is to be emptied. */
export const DesiredState = z.object({
  v: z.int(),
  fleet: Name,
  device: Name,
  /** Strictly grows per device: an older or equal one with other content is refused. */
  version: z.int().positive(),
  issuedAtMs: z.int(),
  expiresAtMs: z.int(),
  slots: z.record(Name, DeploymentGoal),
})
export type DesiredState = z.infer<typeof DesiredState>

const BestSoFar = z.object({ label: z.string(), p90BoundMs: z.number(), accuracy: z.number().nullable() })

export const StatusReport = z.object({
  kind: z.literal('status'),
  deploymentId: Name,
  attempt: z.int().positive(),
  slot: Name,
  status: DeploymentStatus,
  phase: DeploymentPhase.nullable(),
  /** Terminal statuses only. */
  reason: ReasonCode.nullable(),
  message: z.string().max(4000).nullable(),
  outcome: Outcome.nullable(),
  /** Digest of the variant that serves in the slot now. */
  running: Digest.nullable(),
  progress: z
    .object({
      bytesDone: z.int().optional(),
      bytesTotal: z.int().optional(),
      trialsDone: z.int().optional(),
      trialsPlanned: z.int().optional(),
      best: BestSoFar.optional(),
    })
    .nullable(),
})
export type StatusReport = z.infer<typeof StatusReport>

export const TrialReport = z.object({
  kind: z.literal('trial'),
  deploymentId: Name,
  attempt: z.int().positive(),
  trial: Trial,
})

/** The winner's and fp32's figures on the evaluation split, sent once the choice is made. */
export const ResultReport = z.object({
  kind: z.literal('result'),
  deploymentId: Name,
  attempt: z.int().positive(),
  verdict: z.enum(['met', 'infeasible']),
  baseline: Measurement,
  winner: z.object({ trialId: z.int(), digest: Digest, measurement: Measurement }).nullable(),
  /** Final losses per trial id: a trial is reported before the choice is known. */
  losses: z.record(z.string(), Trial.shape.losses),
  reasons: z.array(z.string()),
})

/** A scheduled re-benchmark of the active variant. `drifted`: beyond the noise of both measurements. */
export const RebenchmarkReport = z.object({
  kind: z.literal('rebenchmark'),
  deploymentId: Name,
  slot: Name,
  measurement: Measurement,
  change: z.object({ ratio: z.number(), low: z.number(), high: z.number() }),
  drifted: z.boolean(),
})

/** Facts worth keeping that belong to no deployment: a refused desired state, a full disk. */
export const NoticeReport = z.object({
  kind: z.literal('notice'),
  code: z.string().max(64),
  message: z.string().max(4000),
})

export const ReportBody = z.discriminatedUnion('kind', [
  StatusReport,
  TrialReport,
  ResultReport,
  RebenchmarkReport,
  NoticeReport,
])
export type ReportBody = z.infer<typeof ReportBody>

/** One journalled report. `seq` counts up per device for ever; the controller keeps each (journal, seq) once. */
export const Report = z.object({ seq: z.int().positive().lt(1e12), atMs: z.int(), body: ReportBody })
export type Report = z.infer<typeof Report>

/**
 * `up/report`, the payload of a compact JWS by the device's key: a batch of about 64 KB. `journal` names the
 * device's outbox: a wiped device starts a new one.
 */
export const ReportBatch = z.object({ v: z.int(), session: Session, journal: Session, reports: z.array(Report).min(1) })
export type ReportBatch = z.infer<typeof ReportBatch>

/** `down/ack`: these sequence numbers are committed in fleet state and need not be sent again. */
export const ReportAck = z.object({ v: z.int(), journal: Session, seqs: z.array(z.int().positive()).min(1) })
export type ReportAck = z.infer<typeof ReportAck>

/** `up/fetch`: chunks missing in one span. `bitmap` is base64, bit i (LSB first) set where chunk i is wanted. */
export const FetchRequest = z.object({
  v: z.int(),
  artifact: Digest,
  span: z.int().nonnegative(),
  bitmap: z.string().max(1024),
  /** A slow device asks for a span topic of its own, so that it holds up nobody's window. */
  private: z.boolean().default(false),
})
export type FetchRequest = z.infer<typeof FetchRequest>

/**
 * `up/enrol`, the payload of a compact JWS that carries the device's key and so proves it has it. Sent until
 * answered.
 */
export const EnrolRequest = z.object({
  v: z.int(),
  device: Name,
  labels: Labels,
  agentVersion: z.string().max(64),
  nonce: Session,
})
export type EnrolRequest = z.infer<typeof EnrolRequest>

/**
 * `down/enrol`, the payload of a compact JWS that carries the controller's key, whose fingerprint must be the
 * token's. `nonce` is the request's.
 */
export const EnrolReply = z.object({
  v: z.int(),
  device: Name,
  nonce: Session,
  state: z.enum(['pending', 'accepted', 'rejected', 'decommissioned']),
})
export type EnrolReply = z.infer<typeof EnrolReply>
