import * as z from 'zod'
import { Measurement } from './measurement.ts'
import { Objective } from './objective.ts'
import { Digest } from './primitives.ts'
import { Profile } from './profile.ts'
import { Recipe } from './recipe.ts'
import { SplitSpec } from './split-spec.ts'
import { Trial } from './trial.ts'

/** What one pass of a recipe did. */
export const PassReport = z.object({
  /** As in the recipe. */
  pass: z.string(),
  nodesBefore: z.int(),
  nodesAfter: z.int(),
  /** Of the constants of the main graph. */
  bytesBefore: z.int(),
  bytesAfter: z.int(),
  /** How long it took, calibration included. */
  durationMs: z.number(),
  /** For people: what was left alone, and why. */
  notes: z.array(z.string()),
  /** The model as the pass leaves it against the source: the worst output, over a few tuning samples. Null: not compared. */
  sqnrDb: z.number().nullable(),
  /** Median of a short measurement. Null where not compared, or the model does not run before the passes that follow. */
  latencyP50Ms: z.number().nullable(),
})
export type PassReport = z.infer<typeof PassReport>

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
  winner: z
    .object({
      /** Resolved: gives the same bytes anywhere. */
      recipe: Recipe,
      /** As it was asked for, or found. */
      unresolvedRecipe: Recipe,
      digest: Digest,
      measurement: Measurement,
      /** In the order of the recipe; empty for fp32. */
      passes: z.array(PassReport),
    })
    .nullable(),
  trials: z.array(Trial),
  /** In words: what bound, and the best reachable points where the objective is infeasible. */
  reasons: z.array(z.string()),
})
export type OptimizeReport = z.infer<typeof OptimizeReport>
