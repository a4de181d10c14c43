import { Name, Objective, SplitSpec } from '@edgefit/shared/model'
import cron from 'node-cron'
import * as z from 'zod'

/** Five fields, as both ends read them; node-cron alone would take seconds too. */
export function isCron(text: string): boolean {
  return text.trim().split(/\s+/).length === 5 && cron.validate(text)
}

const Cron = z.string().refine(isCron, {
  error: ({ input }) =>
    `"${String(input)}" is not a cron expression of five fields (minute hour day month weekday), as in "0 3 * * *"`,
})

const DAY_S = 86_400

/** What a rollout is to do. */
export const RolloutInput = z.strictObject({
  /** `detector`, its newest version, or `detector@3`. */
  model: z.string(),
  /** `road-scenes`, its newest version, or `road-scenes@2`. */
  dataset: z.string(),
  slot: Name.default('default'),
  /** `all`, or terms that must all hold: `site=lab,arch=arm64`. */
  selector: z.string(),
  objective: Objective,
  /** Sample counts; by default a tenth for calibration (512 at most), three tenths for tuning, the rest for evaluation. */
  split: SplitSpec.optional(),
  search: z
    .strictObject({
      budgetS: z
        .int()
        .min(1, 'must be at least 1 s')
        .max(7 * DAY_S, 'must be at most 7 days')
        .default(600),
      seed: z.int().nonnegative().default(0),
    })
    .prefault({}),
  schedule: z
    .strictObject({
      rebenchmarkCron: Cron.nullable().default(null),
      maintenance: z
        .strictObject({ cron: Cron, durationMin: z.int().min(1).max(1440) })
        .nullable()
        .default(null),
    })
    .prefault({}),
})
export type RolloutInput = z.input<typeof RolloutInput>
