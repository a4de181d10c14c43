import { EdgefitError } from '@edgefit/shared'
import { defaultSplit, inferTask, listNpz, openDataset, unpackNpz } from '@edgefit/shared/dataset'
import type { SplitSpec, Task } from '@edgefit/shared/model'
import { describeIo, loadModel } from '@edgefit/shared/onnx'

export interface DataOptions {
  readonly modelPath: string
  readonly npzPath: string
  /** Undefined: taken from the labels and the output. */
  readonly task: Task | undefined
  readonly seed: number
  /** Whether samples are to be set aside for training. */
  readonly trains?: boolean
}

/** How an offline run divides its dataset, and what the outputs mean where the operator did not say. */
export async function planData(
  { modelPath, npzPath, task, seed, trains = false }: DataOptions,
  datasetDir: string,
  signal: AbortSignal,
): Promise<{ split: SplitSpec; count: number; task: Task }> {
  const [first] = await listNpz(npzPath, signal)
  const count = first?.shape[0] ?? 0
  const split = defaultSplit(count, seed, trains)
  if (task !== undefined) return { split, count, task }
  await unpackNpz(npzPath, datasetDir, signal)
  const dataset = await openDataset(datasetDir)
  try {
    const inferred = inferTask(dataset.arrays, describeIo(await loadModel(modelPath)))
    if (inferred !== undefined) return { split, count, task: inferred }
  } finally {
    await dataset.close()
  }
  throw new EdgefitError(
    'the task cannot be told from the labels and the model output, and accuracy has no meaning without it: add --task classification, binary-score, regression or custom',
    { code: 'USAGE' },
  )
}
