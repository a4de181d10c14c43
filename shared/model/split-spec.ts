import * as z from 'zod'

/** Sample counts of a seeded, disjoint split. Choices are made on tuning; evaluation is measured once. */
export const SplitSpec = z.strictObject({
  seed: z.int().nonnegative(),
  calibration: z.int().positive(),
  tuning: z.int().positive(),
  evaluation: z.int().positive(),
  /** What weights are trained on; absent: the calibration samples. */
  training: z.int().positive().optional(),
})
export type SplitSpec = z.infer<typeof SplitSpec>
