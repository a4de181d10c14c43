import * as z from 'zod'
import { Measurement } from './measurement.ts'
import { Objective } from './objective.ts'
import { Digest } from './primitives.ts'
import { Profile } from './profile.ts'
import { Recipe } from './recipe.ts'
import { SplitSpec } from './split-spec.ts'
import { Trial } from './trial.ts'

/** `report.json` of `edgefit-agent optimize`: a contract that others may script against. */
export const OptimizeReport = z.object({
  schemaVersion: z.literal(1),
  source: z.object({ digest: Digest, sizeBytes: z.int() }),
  dataset: z.object({ digest: Digest, count: z.int(), split: SplitSpec }),
  device: z.object({ class: z.string(), profile: Profile }),
  objective: Objective.nullable(),
  verdict: z.enum(['met', 'infeasible', 'applied']),
  /** fp32 with the best runtime settings, on the evaluation split. */
  baseline: Measurement,
  winner: z.object({ recipe: Recipe, digest: Digest, measurement: Measurement }).nullable(),
  trials: z.array(Trial),
  /** In words: what bound, and the best reachable points where the objective is infeasible. */
  reasons: z.array(z.string()),
})
export type OptimizeReport = z.infer<typeof OptimizeReport>
