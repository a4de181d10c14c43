import { ArtifactRef, Task, TensorSpec } from '@edgefit/shared/model'
import * as z from 'zod'
import { artifactRefOf } from '../store/artifact-ref.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { findVersion } from './versioned-name.ts'

export const ModelView = z.object({
  name: z.string(),
  version: z.int(),
  task: Task,
  inputs: z.array(TensorSpec),
  outputs: z.array(TensorSpec),
  artifact: ArtifactRef,
  publishedAtMs: z.int(),
})
export type ModelView = z.infer<typeof ModelView>

/** By name and version; of one name where it is given. */
export async function loadModels(db: ControllerDatabase, name?: string): Promise<ModelView[]> {
  let query = db
    .selectFrom('models')
    .innerJoin('artifacts', 'artifacts.digest', 'models.artifact_digest')
    .selectAll()
    .orderBy('name')
    .orderBy('version')
  if (name !== undefined) query = query.where('name', '=', name)
  return (await query.execute()).map((row) => ({
    name: row.name,
    version: row.version,
    task: Task.parse(JSON.parse(row.task)),
    inputs: z.array(TensorSpec).parse(JSON.parse(row.inputs)),
    outputs: z.array(TensorSpec).parse(JSON.parse(row.outputs)),
    artifact: artifactRefOf(row),
    publishedAtMs: row.published_at_ms,
  }))
}

/**
 * The model that `NAME` (its newest version) or `NAME@VERSION` means.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND
 */
export async function findModel(db: ControllerDatabase, text: string): Promise<ModelView> {
  return await findVersion(text, 'model', (name) => loadModels(db, name))
}
