import * as z from 'zod'
import { Measurement } from './measurement.ts'
import { Digest, Name, TensorSpec } from './primitives.ts'
import { RuntimeSettings } from './recipe.ts'
import { Task } from './task.ts'

/** `active/{slot}/runtime.json`: what an application needs to load the model beside it as it was measured. */
export const RuntimeJson = z.object({
  schemaVersion: z.literal(1),
  slot: Name,
  deploymentId: z.string(),
  model: z.object({ name: Name, version: z.int().positive(), sourceDigest: Digest, task: Task }),
  variant: z.object({ digest: Digest, sizeBytes: z.int(), recipeDigest: Digest, label: z.string().nullable() }),
  runtime: RuntimeSettings,
  /** Pass as the second argument of `InferenceSession.create`. */
  sessionOptions: z.record(z.string(), z.unknown()),
  inputs: z.array(TensorSpec),
  outputs: z.array(TensorSpec),
  measurement: Measurement,
  activatedAtMs: z.int(),
})
export type RuntimeJson = z.infer<typeof RuntimeJson>
