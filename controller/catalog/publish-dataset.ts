import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { publishArtifact } from '@edgefit/shared/artifact'
import { type Dataset, LABELS, openDataset, unpackNpz } from '@edgefit/shared/dataset'
import { recordEvent } from '../store/record-event.ts'
import type { CatalogServices } from './catalog-services.ts'
import { type DatasetView, loadDatasets } from './datasets.ts'
import { recordArtifact } from './record-artifact.ts'

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
