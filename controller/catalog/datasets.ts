import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { publishArtifact } from '@edgefit/shared/artifact'
import { type Dataset, LABELS, openDataset, unpackNpz } from '@edgefit/shared/dataset'
import { ArtifactRef, TENSOR_TYPES } from '@edgefit/shared/model'
import * as z from 'zod'
import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import type { CatalogServices } from './catalog-services.ts'
import { recordArtifact } from './record-artifact.ts'
import { notPublished, parseVersionedName } from './versioned-name.ts'

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

type Content = Pick<DatasetView, 'count' | 'arrays' | 'hasLabels' | 'labelRange'>

/**
 * Puts an `.npz` into the catalog as the next version of its name, once it is read through: shapes, types, counts, no
 * NaN. The same bytes are the version that is there already (`created` is false).
 *
 * @throws EdgefitError DATASET_INVALID, DISK_FULL
 */
export async function publishDataset(
  services: CatalogServices,
  { name, path }: { readonly name: string; readonly path: string },
  signal: AbortSignal,
): Promise<{ readonly dataset: DatasetView; readonly created: boolean }> {
  const content = await readThrough(services, path, signal)
  const artifact = await publishArtifact(services.artifacts, path)
  const nowMs = services.now()
  return await services.db.transaction().execute(async (trx) => {
    const versions = await loadDatasets(trx, name)
    const same = versions.find((version) => version.artifact.digest === artifact.digest)
    if (same !== undefined) return { dataset: same, created: false }
    await recordArtifact(trx, 'dataset', artifact, nowMs)
    const version = (versions.at(-1)?.version ?? 0) + 1
    await trx
      .insertInto('datasets')
      .values({
        name,
        version,
        artifact_digest: artifact.digest,
        sample_count: content.count,
        arrays: JSON.stringify(content.arrays),
        has_labels: Number(content.hasLabels),
        label_min: content.labelRange?.min ?? null,
        label_max: content.labelRange?.max ?? null,
        published_at_ms: nowMs,
      })
      .execute()
    const subject = `dataset:${name}@${version}`
    const data = { digest: artifact.digest }
    await recordEvent(trx, { atMs: nowMs, actor: 'operator', kind: 'dataset-published', subject, data })
    return { dataset: { name, version, ...content, artifact, publishedAtMs: nowMs }, created: true }
  })
}

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
    artifact: {
      digest: row.digest,
      sizeBytes: row.size_bytes,
      manifest: { digest: row.manifest_digest, sizeBytes: row.manifest_size_bytes },
    },
    publishedAtMs: row.published_at_ms,
  }))
}

/**
 * The dataset that `NAME` (its newest version) or `NAME@VERSION` means.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND
 */
export async function findDataset(db: ControllerDatabase, text: string): Promise<DatasetView> {
  const asked = parseVersionedName(text, 'dataset')
  const versions = await loadDatasets(db, asked.name)
  const found =
    asked.version === undefined ? versions.at(-1) : versions.find(({ version }) => version === asked.version)
  if (found !== undefined) return found
  const known = versions.length > 0 ? versions : await loadDatasets(db)
  return notPublished(
    'dataset',
    asked,
    known.map(({ name, version }) => `${name}@${version}`),
  )
}

async function readThrough(services: CatalogServices, path: string, signal: AbortSignal): Promise<Content> {
  const scratch = await mkdtemp(join(services.scratchDir, 'dataset-'))
  try {
    const directory = join(scratch, 'arrays')
    await unpackNpz(path, directory, signal)
    const dataset = await openDataset(directory)
    try {
      return {
        count: dataset.count,
        arrays: [...dataset.arrays].map(([name, { dtype, shape }]) => ({ name, dtype, shape: [...shape] })),
        hasLabels: dataset.hasLabels,
        labelRange: await labelRange(dataset),
      }
    } finally {
      await dataset.close()
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

const BLOCK_ROWS = 4096

async function labelRange(dataset: Dataset): Promise<Content['labelRange']> {
  const spec = dataset.arrays.get(LABELS)
  if (spec === undefined || spec.shape.some((length) => length !== 1)) return null
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (let start = 0; start < dataset.count; start += BLOCK_ROWS) {
    const rows = Array.from({ length: Math.min(BLOCK_ROWS, dataset.count - start) }, (_, offset) => start + offset)
    for (const label of await dataset.labels(rows)) {
      min = Math.min(min, label)
      max = Math.max(max, label)
    }
  }
  return { min, max }
}
