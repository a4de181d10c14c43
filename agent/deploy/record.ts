import { Digest, Measurement, Outcome, ReasonCode, Recipe } from '@edgefit/shared/model'
import * as z from 'zod'

/** What the search found, kept so that a restart goes on from here. The winner's file is in the artifact store. */
export const SearchResult = z.object({
  verdict: z.enum(['met', 'infeasible']),
  undecided: z.boolean(),
  reasons: z.array(z.string()),
  winner: z
    .object({
      trialId: z.int(),
      digest: Digest,
      sizeBytes: z.int(),
      recipe: Recipe,
      recipeDigest: Digest,
      measurement: Measurement,
    })
    .nullable(),
})
export type SearchResult = z.infer<typeof SearchResult>

export const Terminal = z.object({
  status: z.enum(['succeeded', 'failed', 'timed_out', 'rejected', 'removed']),
  reason: ReasonCode,
  message: z.string(),
  outcome: Outcome,
})
export type Terminal = z.infer<typeof Terminal>

/** How far a deployment has come. Saved after each step; each step may run twice. */
export const DeploymentRecord = z.object({
  attempt: z.int().positive(),
  downloaded: z.boolean(),
  verified: z.boolean(),
  result: SearchResult.nullable(),
  /** Name of the staged version in the slot store. */
  staged: z.string().nullable(),
  activated: z.boolean(),
  terminal: Terminal.nullable(),
  /** The terminal status is in the outbox. */
  announced: z.boolean(),
})
export type DeploymentRecord = z.infer<typeof DeploymentRecord>

export function newRecord(attempt: number): DeploymentRecord {
  return {
    attempt,
    downloaded: false,
    verified: false,
    result: null,
    staged: null,
    activated: false,
    terminal: null,
    announced: false,
  }
}
