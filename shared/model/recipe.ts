import * as z from 'zod'

/** Options of one onnxruntime session. Keys the runtime would ignore silently are not offered. */
export const RuntimeSettings = z.strictObject({
  intraOpThreads: z.int().min(1).max(256),
  /** Threads spin between runs: a little faster under steady load, a core burnt otherwise. */
  allowSpinning: z.boolean().default(false),
  memoryArena: z.boolean().default(true),
})
export type RuntimeSettings = z.infer<typeof RuntimeSettings>

const QuantizedType = z.enum(['int8', 'uint8'])

const FoldBatchNorm = z.strictObject({ pass: z.literal('fold-batch-norm') })

const QuantizeDynamic = z.strictObject({
  pass: z.literal('quantize-dynamic'),
  weights: z.strictObject({
    type: QuantizedType.default('int8'),
    perChannel: z.boolean().default(true),
    /** 7-bit weights: for x64 CPUs whose int8 multiply-add saturates (no VNNI). */
    reducedRange: z.boolean().default(false),
  }),
  /** Names of nodes to leave in float. */
  exclude: z.array(z.string()).default([]),
})

/** Calibrated ranges per tensor: what makes a static recipe resolved. */
const TensorRanges = z.record(z.string(), z.tuple([z.number(), z.number()]))

const QuantizeStatic = z.strictObject({
  pass: z.literal('quantize-static'),
  activations: z.strictObject({ type: QuantizedType }),
  weights: z.strictObject({
    type: z.literal('int8').default('int8'),
    perChannel: z.boolean().default(true),
    reducedRange: z.boolean().default(false),
  }),
  calibration: z.discriminatedUnion('method', [
    z.strictObject({ method: z.literal('minmax'), samples: z.int().min(1) }),
    z.strictObject({ method: z.literal('percentile'), percentile: z.number().gt(50).lt(100), samples: z.int().min(1) }),
  ]),
  exclude: z.array(z.string()).default([]),
  /** Present in a resolved recipe: calibration is then skipped and the bytes are the same anywhere. */
  ranges: TensorRanges.optional(),
})

export const Pass = z.discriminatedUnion('pass', [FoldBatchNorm, QuantizeDynamic, QuantizeStatic])
export type Pass = z.infer<typeof Pass>

/** A list of passes and the runtime settings: turns a source model into a variant. */
export const Recipe = z.strictObject({
  schemaVersion: z.literal(1).default(1),
  /** For people: "static int8, percentile 99.99". Not part of the recipe's identity. */
  label: z.string().max(120).optional(),
  passes: z.array(Pass),
  runtime: RuntimeSettings,
})
export type Recipe = z.infer<typeof Recipe>
