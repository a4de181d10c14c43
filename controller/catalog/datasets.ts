import { ArtifactRef, TENSOR_TYPES } from '@edgefit/shared/model'
import * as z from 'zod'
import { artifactRefOf } from '../store/artifact-ref.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { findVersion } from './versioned-name.ts'

/** `shape` is that of one sample. */
const ArraySpec = z.object({ name: z.string(), dtype: z.enum(TENSOR_TYPES), shape: z.array(z.int()) })

export const DatasetView = z.object({
  name: z.string(),
  version: z.int(),
  count: z.int(),
  arrays: z.array(ArraySpec),
  hasLabels: z.boolean(),
  /** Smallest and largest label, where labels are one number a sample. */
  labelRange: z.object({ min: z.number(), max: z.number() }).nullable(),
  artifact: ArtifactRef,
  publishedAtMs: z.int(),
})
export type DatasetView = z.infer<typeof DatasetView>

/** By name and version; of one name where it is given. */
export async function loadDatasets(db: ControllerDatabase, name?: string): Promise<DatasetView[]> {
  let query = db
    .selectFrom('datasets')
    .innerJoin('artifacts', 'artifacts.digest', 'datasets.artifact_digest')
    .selectAll()
    .orderBy('name')
    .orderBy('version')
  if (name !== undefined) query = query.where('name', '=', name)
  return (await query.execute()).map((row) => ({
    name: row.name,
    version: row.version,
    count: row.sample_count,
    arrays: z.array(ArraySpec).parse(JSON.parse(row.arrays)),
    hasLabels: row.has_labels === 1,
    labelRange: row.label_min === null || row.label_max === null ? null : { min: row.label_min, max: row.label_max },
    artifact: artifactRefOf(row),
    publishedAtMs: row.published_at_ms,
  }))
}

/**
 * The dataset that `NAME` (its newest version) or `NAME@VERSION` means.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND
 */
export async function findDataset(db: ControllerDatabase, text: string): Promise<DatasetView> {
  return await findVersion(text, 'dataset', (name) => loadDatasets(db, name))
}
