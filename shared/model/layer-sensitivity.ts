import * as z from 'zod'

/** Milliseconds that one run takes longer; below 0: it is faster. 95 % interval. */
const LostMs = z.object({ value: z.number(), low: z.number(), high: z.number() })

/** What quantizing one layer does to a model on one box. */
export const LayerSensitivity = z.object({
  /** Name of the node, as in the `exclude` of a recipe. */
  layer: z.string(),
  opType: z.string(),
  /** Of the model's outputs, with this layer alone quantized. */
  sqnrDb: z.number(),
  /** The same as noise power over signal power. */
  noiseRatio: z.number().nonnegative(),
  /** Of the class probabilities from those of fp32, in nats; null for other tasks. */
  klDivergence: z.number().nonnegative().nullable(),
  /** With this layer in float against all layers quantized; null where the layer does too little to matter. */
  lostMs: LostMs.nullable(),
})
export type LayerSensitivity = z.infer<typeof LayerSensitivity>
