import * as z from 'zod'

/**
 * What a model's outputs mean, and so what "accuracy" is.
 *
 * - `classification`: top-1 of the first output's last axis; agreement with fp32 where the data carry no labels.
 * - `binary-score`: one score per sample; accuracy at `threshold`, or the AUC where none is given.
 * - `regression`: the share of samples whose relative error is within `tolerance`, against the labels or, where
 *   there are none, against fp32's outputs.
 * - `custom`: a module on the box whose `score(outputs, label)` says right (1) or wrong (0) per sample. Never sent
 *   over the air: the agent runs no code that it was not installed with.
 */
export const Task = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('classification') }),
  z.strictObject({ kind: z.literal('binary-score'), threshold: z.number().optional() }),
  z.strictObject({ kind: z.literal('regression'), tolerance: z.number().positive().default(0.05) }),
  z.strictObject({ kind: z.literal('custom'), module: z.string().min(1) }),
])
export type Task = z.infer<typeof Task>
