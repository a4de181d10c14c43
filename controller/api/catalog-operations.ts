import { EdgefitError } from '@edgefit/shared'
import { inferTask } from '@edgefit/shared/dataset'
import { Name, Task } from '@edgefit/shared/model'
import * as z from 'zod'
import { DatasetView, findDataset, loadDatasets } from '../catalog/datasets.ts'
import { findModel, loadModels, ModelView } from '../catalog/models.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { command, query } from './operation.ts'

// What reads models and datasets is loaded when it is needed: the command line shares this table and starts often.
export const catalogOperations = {
  'model.publish': command(
    z.strictObject({
      name: Name,
      upload: z.string(),
      /** Null: told by the labels of `dataset`. */
      task: Task.nullable().default(null),
      dataset: z.string().nullable().default(null),
    }),
    z.object({ model: ModelView, created: z.boolean() }),
    async ({ catalog, uploads, db }, { name, upload, task, dataset }) => {
      const { publishModel } = await import('../catalog/publish-model.ts')
      return await uploads.use(upload, async (path) =>
        publishModel(catalog, { name, path, task: task ?? (await inferredTask(db, path, dataset)) }),
      )
    },
  ),

  'model.list': query(z.strictObject({}), z.object({ models: z.array(ModelView) }), async ({ db }) => ({
    models: await loadModels(db),
  })),

  'model.show': query(
    z.strictObject({ model: z.string() }),
    z.object({ model: ModelView }),
    async ({ db }, { model }) => ({ model: await findModel(db, model) }),
  ),

  'dataset.publish': command(
    z.strictObject({ name: Name, upload: z.string() }),
    z.object({ dataset: DatasetView, created: z.boolean() }),
    async ({ catalog, uploads }, { name, upload }, signal) => {
      const { publishDataset } = await import('../catalog/publish-dataset.ts')
      return await uploads.use(upload, (path) => publishDataset(catalog, { name, path }, signal))
    },
  ),

  'dataset.list': query(z.strictObject({}), z.object({ datasets: z.array(DatasetView) }), async ({ db }) => ({
    datasets: await loadDatasets(db),
  })),

  'dataset.show': query(
    z.strictObject({ dataset: z.string() }),
    z.object({ dataset: DatasetView }),
    async ({ db }, { dataset }) => ({ dataset: await findDataset(db, dataset) }),
  ),
}

async function inferredTask(db: ControllerDatabase, path: string, dataset: string | null): Promise<Task> {
  const { describeIo, loadModel } = await import('@edgefit/shared/onnx')
  const known = dataset === null ? undefined : await findDataset(db, dataset)
  const arrays = new Map(known?.arrays.map((array) => [array.name, array]))
  const task = known && inferTask(arrays, describeIo(await loadModel(path)))
  if (task !== undefined) return task
  const why = known === undefined ? 'is not known' : `cannot be told from the labels of ${known.name}@${known.version}`
  throw new EdgefitError(`task: what the outputs mean ${why}; name it: classification, binary-score or regression`, {
    code: 'INPUT_INVALID',
    details: { field: 'task' },
  })
}
