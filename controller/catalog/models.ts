import { readFile } from 'node:fs/promises'
import { publishArtifact } from '@edgefit/shared/artifact'
import { ArtifactRef, Task, TensorSpec } from '@edgefit/shared/model'
import { checkModel, describeIo, loadModel, tensorBorders } from '@edgefit/shared/onnx'
import * as z from 'zod'
import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import type { CatalogServices } from './catalog-services.ts'
import { recordArtifact } from './record-artifact.ts'
import { notPublished, parseVersionedName } from './versioned-name.ts'

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

export interface NewModel {
  readonly name: string
  readonly task: Task
  /** One ONNX file, complete in itself. */
  readonly path: string
}

/**
 * Puts a model into the catalog as the next version of its name. The same bytes with the same task are the version
 * that is there already (`created` is false).
 *
 * @throws EdgefitError MODEL_INVALID, MODEL_UNSUPPORTED, DISK_FULL
 */
export async function publishModel(
  services: CatalogServices,
  { name, task, path }: NewModel,
): Promise<{ readonly model: ModelView; readonly created: boolean }> {
  const model = await loadModel(path)
  checkModel(model)
  const { inputs, outputs } = describeIo(model)
  const artifact = await publishArtifact(services.artifacts, path, tensorBorders(await readFile(path)))
  const nowMs = services.now()
  return await services.db.transaction().execute(async (trx) => {
    const versions = await loadModels(trx, name)
    const same = versions.find(
      (version) => version.artifact.digest === artifact.digest && JSON.stringify(version.task) === JSON.stringify(task),
    )
    if (same !== undefined) return { model: same, created: false }
    await recordArtifact(trx, 'model', artifact, nowMs)
    const view: ModelView = {
      name,
      version: (versions.at(-1)?.version ?? 0) + 1,
      task,
      inputs: [...inputs],
      outputs: [...outputs],
      artifact,
      publishedAtMs: nowMs,
    }
    await trx
      .insertInto('models')
      .values({
        name,
        version: view.version,
        artifact_digest: artifact.digest,
        task: JSON.stringify(task),
        inputs: JSON.stringify(inputs),
        outputs: JSON.stringify(outputs),
        published_at_ms: nowMs,
      })
      .execute()
    const subject = `model:${name}@${view.version}`
    const data = { digest: artifact.digest }
    await recordEvent(trx, { atMs: nowMs, actor: 'operator', kind: 'model-published', subject, data })
    return { model: view, created: true }
  })
}

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
    artifact: {
      digest: row.digest,
      sizeBytes: row.size_bytes,
      manifest: { digest: row.manifest_digest, sizeBytes: row.manifest_size_bytes },
    },
    publishedAtMs: row.published_at_ms,
  }))
}

/**
 * The model that `NAME` (its newest version) or `NAME@VERSION` means.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND
 */
export async function findModel(db: ControllerDatabase, text: string): Promise<ModelView> {
  const asked = parseVersionedName(text, 'model')
  const versions = await loadModels(db, asked.name)
  const found =
    asked.version === undefined ? versions.at(-1) : versions.find(({ version }) => version === asked.version)
  if (found !== undefined) return found
  const known = versions.length > 0 ? versions : await loadModels(db)
  return notPublished(
    'model',
    asked,
    known.map(({ name, version }) => `${name}@${version}`),
  )
}
