import { readFile } from 'node:fs/promises'
import { publishArtifact } from '@edgefit/shared/artifact'
import type { Task } from '@edgefit/shared/model'
import { checkModel, describeIo, loadModel, tensorBorders } from '@edgefit/shared/onnx'
import { recordEvent } from '../store/record-event.ts'
import type { CatalogServices } from './catalog-services.ts'
import { loadModels, type ModelView } from './models.ts'
import { recordArtifact } from './record-artifact.ts'

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
