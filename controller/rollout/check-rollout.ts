import { EdgefitError } from '@edgefit/shared'
import { checkDatasetFitsModel, classCount, defaultSplit, splitIndices } from '@edgefit/shared/dataset'
import type { SplitSpec } from '@edgefit/shared/model'
import type { DatasetView } from '../catalog/datasets.ts'
import type { ModelView } from '../catalog/models.ts'

/**
 * Refuses what could only fail on the devices: data that do not fit the model, labels outside its classes, a task
 * that cannot be judged there.
 *
 * @throws EdgefitError DATASET_MISMATCH, INPUT_INVALID
 */
export function checkRollout(model: ModelView, dataset: DatasetView): void {
  const { task } = model
  if (task.kind === 'custom')
    throw new EdgefitError(
      `model: ${model.name}@${model.version} has a custom task, whose code never travels to devices; ` +
        'publish it with another task, or run "edgefit-agent optimize" on the box',
      { code: 'INPUT_INVALID', details: { model: model.name, task: task.kind } },
    )
  checkDatasetFitsModel(new Map(dataset.arrays.map((array) => [array.name, array])), model, task)
  checkLabelRange(dataset, task.kind === 'binary-score' ? 2 : classCount(model.outputs), task.kind)
  if (task.kind === 'binary-score' && task.threshold === undefined && !dataset.hasLabels)
    throw new EdgefitError(
      `dataset: the AUC of ${model.name} needs labels, which ${dataset.name}@${dataset.version} lacks; ` +
        'add an array "labels", or publish the model with a threshold',
      { code: 'DATASET_MISMATCH', details: { dataset: dataset.name } },
    )
}

/**
 * @throws EdgefitError DATASET_INVALID where the parts exceed the dataset, or it is too small for any.
 */
export function resolveSplit(dataset: DatasetView, split: SplitSpec | undefined, seed: number): SplitSpec {
  if (split === undefined) return defaultSplit(dataset.count, seed)
  splitIndices(dataset.count, split)
  return split
}

function checkLabelRange({ name, labelRange }: DatasetView, classes: number | undefined, task: string): void {
  if (labelRange === null || classes === undefined || task === 'regression') return
  const wrong = [labelRange.min, labelRange.max].find((label) => label < 0 || label >= classes)
  if (wrong !== undefined)
    throw new EdgefitError(
      `dataset ${name}: it has the label ${wrong}, ${task} has labels 0 to ${classes - 1}: ` +
        'number the classes from 0 in the order of the model output',
      { code: 'DATASET_MISMATCH', details: { dataset: name, label: wrong } },
    )
}
