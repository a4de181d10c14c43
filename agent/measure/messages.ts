import { ERROR_CODES } from '@edgefit/shared'
import { TrialFailure } from '@edgefit/shared/model'
import * as z from 'zod'
import { JobProgress } from './jobs.ts'

/** What a child says to its parent. The parent says one thing: the job. */
export const ChildMessage = z.discriminatedUnion('type', [
  /** The child runs, so it holds the lock. */
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('progress'), progress: JobProgress }),
  z.object({ type: z.literal('done'), value: z.unknown(), peakRssBytes: z.int().nonnegative() }),
  /** The model or the recipe is at fault. */
  z.object({ type: z.literal('failed'), reason: TrialFailure, message: z.string() }),
  /** The input is at fault, and would be with every recipe. */
  z.object({ type: z.literal('refused'), code: z.enum(ERROR_CODES), message: z.string() }),
])
export type ChildMessage = z.infer<typeof ChildMessage>
