import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { checkDatasetFitsModel, checkLabels, openDataset, splitIndices, unpackNpz } from '@edgefit/shared/dataset'
import type { Digest, SplitSpec, Task } from '@edgefit/shared/model'
import { checkModel, describeIo, loadModel } from '@edgefit/shared/onnx'
import type { JobRunner } from '../measure/runner.ts'

export interface PrepareInput {
  readonly modelPath: string
  readonly npzPath: string
  /** Where the dataset is unpacked; kept there for the next time. */
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly task: Task
}

const INSPECT_TIMEOUT_MS = 10 * 60_000

/**
 * Makes sure that a model and a dataset are sound, fit each other and that this box's runtime loads the model; unpacks
 * the dataset.
 *
 * @throws EdgefitError MODEL_INVALID, MODEL_UNSUPPORTED, DATASET_INVALID, DATASET_MISMATCH, DISK_FULL, TRIAL_FAILED
 */
export async function prepareModelAndData(input: PrepareInput, runner: JobRunner, signal: AbortSignal): Promise<void> {
  const { modelPath, datasetDir, split, task } = input
  const model = await loadModel(modelPath)
  checkModel(model)
  const io = describeIo(model)
  await unpackNpz(input.npzPath, datasetDir, signal)
  const dataset = await openDataset(datasetDir)
  try {
    checkDatasetFitsModel(dataset.arrays, io, task)
    await checkLabels(dataset, io, task, signal)
    splitIndices(dataset.count, split)
  } finally {
    await dataset.close()
  }
  const samples = { datasetDir, split, which: 'tuning' } as const
  const inspected = await runner.run<'inspect'>(
    { kind: 'inspect', modelPath, samples },
    { timeoutMs: INSPECT_TIMEOUT_MS },
    signal,
  )
  if (inspected.kind === 'done') return
  const code = inspected.reason === 'unsupported' ? 'MODEL_UNSUPPORTED' : 'TRIAL_FAILED'
  throw new EdgefitError(`the runtime does not load the model: ${inspected.message}`, {
    code,
    details: { reason: inspected.reason },
  })
}

/** Datasets are unpacked once per digest. */
export function datasetDirectory(stateDir: string, digest: Digest): string {
  return join(stateDir, 'datasets', digest)
}
