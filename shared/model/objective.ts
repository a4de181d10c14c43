import * as z from 'zod'

/** `relative`: times fp32's accuracy, judged on the same samples. `absolute`: judged by the variant's own interval. */
export const AccuracyFloor = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('relative'), value: z.number().gt(0).lte(1) }),
  z.strictObject({ kind: z.literal('absolute'), value: z.number().gte(0).lte(1) }),
])
export type AccuracyFloor = z.infer<typeof AccuracyFloor>

export const MINIMIZABLE = ['latency', 'size', 'memory', 'none'] as const

/** Hard constraints, and what to minimize among the variants that satisfy them (`none`: the first one will do). */
export const Objective = z.strictObject({
  latencyP90Ms: z.number().positive('must be a latency above 0 ms'),
  accuracy: AccuracyFloor.optional(),
  memoryBytes: z.int().positive().optional(),
  sizeBytes: z.int().positive().optional(),
  minimize: z.enum(MINIMIZABLE).default('latency'),
})
export type Objective = z.infer<typeof Objective>
