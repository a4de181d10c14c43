import {
  Accuracy,
  DeploymentPhase,
  DeploymentStatus,
  Digest,
  Labels,
  LatencyMs,
  LatencyRatio,
  LossReason,
  Measurement,
  Objective,
  Outcome,
  ReasonCode,
  TrialFailure,
} from '@edgefit/shared/model'
import * as z from 'zod'
import { DEVICE_STATES } from '../store/schema.ts'

/**
 * Where a slot of a device stands against its objective, worst first: reports are sorted in this order.
 *
 * - `failed`: the deployment ended without a result, timed out or was refused;
 * - `missed`: what runs there is over the budget now, whatever it was when it was chosen;
 * - `infeasible`: everything was measured and nothing reaches the objective;
 * - `undecided`: too few evaluation samples to prove the accuracy floor;
 * - `pending`: queued or in progress;
 * - `met`: measured on the device, and every constraint holds;
 * - `cancelled`: withdrawn or superseded before there was a result;
 * - `unassigned`: no deployment.
 */
export const VERDICTS = [
  'failed',
  'missed',
  'infeasible',
  'undecided',
  'pending',
  'met',
  'cancelled',
  'unassigned',
] as const
export const Verdict = z.enum(VERDICTS)
export type Verdict = z.infer<typeof Verdict>

export const ReportFilters = z.object({
  device: z.string().optional(),
  model: z.string().optional(),
  rollout: z.string().optional(),
  hardwareClass: z.string().optional(),
})
export type ReportFilters = z.infer<typeof ReportFilters>

const ModelVersion = z.object({ name: z.string(), version: z.int() })

/** Latencies from `fromMs` up to `toMs`, as the device counted them. */
const HistogramBin = z.object({ fromMs: z.number(), toMs: z.number(), count: z.int() })
export type HistogramBin = z.infer<typeof HistogramBin>

/** Runs of one file, possibly of several measurements or devices: counts are added, percentiles read from the sum. */
export const Distribution = z.object({
  measurements: z.int(),
  count: z.int(),
  p50Ms: z.number(),
  p90Ms: z.number(),
  p99Ms: z.number(),
  bins: z.array(HistogramBin),
})
export type Distribution = z.infer<typeof Distribution>

/** `retained`: right answers over fp32's on the same samples; `low` is its one-sided 95 % bound. `floor` is in units of the metric. */
const RowAccuracy = Accuracy.extend({
  baseline: z.number().nullable(),
  retained: z.object({ ratio: z.number(), low: z.number() }).nullable(),
  floor: z.number().nullable(),
})

/** What one file did on this device when it was last measured there. */
export const Figures = Measurement.pick({
  latencyMs: true,
  accuracy: true,
  sizeBytes: true,
  peakRssBytes: true,
  loadMs: true,
  threads: true,
  noise: true,
  throttled: true,
  runtimeVersion: true,
  measuredAtMs: true,
})
export type Figures = z.infer<typeof Figures>

const WARNINGS = ['drifted', 'throttled', 'noisy', 'offline', 'not-serving'] as const

/** `fate` is `open` until the choice is made. The trial with no passes is fp32 itself, and may have won. */
export const TrialLine = z.object({
  id: z.int(),
  label: z.string(),
  baseline: z.boolean(),
  fate: z.enum(['won', 'lost', 'failed', 'open']),
  threads: z.int(),
  latencyMs: LatencyMs.nullable(),
  /** fp32's latency over this one's: above 1 is faster. */
  speedUp: LatencyRatio.nullable(),
  accuracy: Accuracy.nullable(),
  sqnrDb: z.number().nullable(),
  sizeBytes: z.int().nullable(),
  peakRssBytes: z.int().nullable(),
  losses: z.array(LossReason),
  failure: z.object({ reason: TrialFailure, message: z.string() }).nullable(),
  durationMs: z.number(),
})
export type TrialLine = z.infer<typeof TrialLine>

/** Trials are measured on the tuning samples; the row's own figures are of the evaluation samples. */
const RowDetail = z.object({
  baseline: Distribution.nullable(),
  /** All measurements of the active variant on this device: the evaluation and every re-benchmark. */
  variant: Distribution.nullable(),
  trials: z.array(TrialLine),
  /** In words: what bound, and the best reachable points of an infeasible objective. */
  reasons: z.array(z.string()),
})
export type RowDetail = z.infer<typeof RowDetail>

export const LatencyRow = z.object({
  device: z.object({
    id: z.string(),
    state: z.enum(DEVICE_STATES),
    labels: Labels,
    online: z.boolean(),
    lastSeenAtMs: z.int().nullable(),
    hardwareClass: z.string().nullable(),
    cpuModel: z.string().nullable(),
  }),
  slot: z.string().nullable(),
  model: ModelVersion.nullable(),
  deployment: z
    .object({
      id: z.string(),
      rollout: z.string(),
      attempt: z.int(),
      status: DeploymentStatus,
      phase: DeploymentPhase.nullable(),
      reason: ReasonCode.nullable(),
      message: z.string().nullable(),
      outcome: Outcome.nullable(),
      updatedAtMs: z.int(),
    })
    .nullable(),
  objective: Objective.nullable(),
  verdict: Verdict,
  /** The verdict in one sentence, with the figures it rests on. */
  explanation: z.string(),
  variant: z.object({ digest: Digest, label: z.string() }).nullable(),
  /** The variant's latest figures: of the last re-benchmark if there was one. */
  measured: Figures.nullable(),
  /** Of the evaluation samples, when the variant was chosen. */
  accuracy: RowAccuracy.nullable(),
  baseline: Figures.nullable(),
  /** fp32's latency over the variant's, from interleaved runs: above 1 is faster. 95 % interval. */
  speedUp: LatencyRatio.nullable(),
  /** Where nothing was chosen (yet): the fastest trial that holds the accuracy floor. */
  nearest: z.object({ label: z.string(), p90BoundMs: z.number(), accuracy: z.number().nullable() }).nullable(),
  /** `change`: latency of the last re-benchmark over that of the choice. */
  rebenchmark: z
    .object({ count: z.int(), atMs: z.int(), p90BoundBeforeMs: z.number(), change: LatencyRatio, drifted: z.boolean() })
    .nullable(),
  /** What the slot serves where that is not this row's variant: the one from before, while or after it was tried. */
  serving: z
    .object({
      digest: Digest,
      model: ModelVersion.nullable(),
      label: z.string().nullable(),
      p90BoundMs: z.number().nullable(),
      measuredAtMs: z.int().nullable(),
    })
    .nullable(),
  warnings: z.array(z.object({ code: z.enum(WARNINGS), message: z.string() })),
  /** Present in reports of up to {@link DETAILED_ROWS} rows. */
  detail: RowDetail.nullable(),
})
export type LatencyRow = z.infer<typeof LatencyRow>

/** Devices of one hardware class with one model version: the only sets whose latencies may be added up. */
export const LatencyGroup = z.object({
  hardwareClass: z.string(),
  cpuModel: z.string(),
  model: ModelVersion,
  devices: z.int(),
  verdicts: z.partialRecord(Verdict, z.int()),
  budgetsP90Ms: z.array(z.number()),
  baseline: Distribution.nullable(),
  variant: Distribution.nullable(),
  /** Which recipes won here, most frequent first. */
  recipes: z.array(z.object({ label: z.string(), devices: z.int() })),
})
export type LatencyGroup = z.infer<typeof LatencyGroup>

/** What `edgefit report latency --json` prints: stable within a `schemaVersion`, to which fields are only added. */
export const LatencyReport = z.object({
  schemaVersion: z.literal(1),
  generatedAtMs: z.int(),
  filters: ReportFilters,
  verdicts: z.partialRecord(Verdict, z.int()),
  rows: z.array(LatencyRow),
  groups: z.array(LatencyGroup),
})
export type LatencyReport = z.infer<typeof LatencyReport>

/** Beyond this many rows a report lists devices only: their trials would make it unreadable and slow. */
export const DETAILED_ROWS = 24
