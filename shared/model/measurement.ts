import * as z from 'zod'
import { Digest } from './primitives.ts'
import { RuntimeSettings } from './recipe.ts'

/** Sparse buckets of the mergeable latency histogram in shared/stats; the encoding is that module's. */
export const EncodedHistogram = z.string()

export const LatencyMs = z.object({
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  /** MLPerf early-stopping estimate of the 90th percentile at 99 % confidence: the figure budgets are judged by. */
  p90Bound: z.number(),
  count: z.int(),
})
export type LatencyMs = z.infer<typeof LatencyMs>

export const AccuracyMetric = z.enum(['top1', 'agreement', 'accuracy', 'auc', 'within-tolerance', 'custom'])
export type AccuracyMetric = z.infer<typeof AccuracyMetric>

/** `low` and `high` bound `value` with 95 % confidence. */
export const Accuracy = z.object({
  metric: AccuracyMetric,
  value: z.number(),
  low: z.number(),
  high: z.number(),
  count: z.int(),
})
export type Accuracy = z.infer<typeof Accuracy>

/** The same samples through the variant and through fp32. `onlyVariant`: right by the variant alone. */
export const PairedCounts = z.object({
  both: z.int(),
  onlyVariant: z.int(),
  onlyBaseline: z.int(),
  neither: z.int(),
})
export type PairedCounts = z.infer<typeof PairedCounts>

/** Paired difference of a metric that is not a proportion (AUC): variant minus fp32, one-sided 95 % lower bound. */
export const PairedDifference = z.object({ value: z.number(), low: z.number() })

/** Variant over fp32 from interleaved runs: below 1 is faster. 95 % interval. */
export const LatencyRatio = z.object({ ratio: z.number(), low: z.number(), high: z.number() })
export type LatencyRatio = z.infer<typeof LatencyRatio>

export const SPLITS = ['tuning', 'evaluation'] as const

/** What one file did on one box. Nothing here is estimated from another box. */
export const Measurement = z.object({
  latencyMs: LatencyMs,
  accuracy: Accuracy.nullable(),
  sizeBytes: z.int(),
  peakRssBytes: z.int(),
  loadMs: z.number(),
  threads: z.int(),
  /** The clock or temperature showed that the CPU held back during the measurement. */
  throttled: z.boolean(),
  /** Robust relative spread of the latency sample: 1.4826 times the median absolute deviation over the median. */
  noise: z.number(),
  histogram: EncodedHistogram,
  split: z.enum(SPLITS),
  runtime: RuntimeSettings,
  runtimeVersion: z.string(),
  temperatureC: z.object({ before: z.number().nullable(), after: z.number().nullable() }),
  /** Absent for fp32 itself. */
  againstBaseline: z
    .object({
      latencyRatio: LatencyRatio,
      sqnrDb: z.number().nullable(),
      paired: PairedCounts.nullable(),
      difference: PairedDifference.nullable(),
    })
    .optional(),
  measuredAtMs: z.int(),
})
export type Measurement = z.infer<typeof Measurement>

export const VariantRef = z.object({ digest: Digest, sizeBytes: z.int() })
