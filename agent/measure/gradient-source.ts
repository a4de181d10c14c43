import type { Task } from '@edgefit/shared/model'
import { describeIo, type Model } from '@edgefit/shared/onnx'
import type { GradientSource } from '../compress/index.ts'
import { openSamples, type SamplesRef } from './samples.ts'

export interface GradientSourceOptions extends Pick<SamplesRef, 'datasetDir' | 'split'> {
  readonly source: Model
  readonly task: Task
}

/** Samples to take gradients of: for training, or those of calibration where there are none. `close` is the last call. */
export async function openGradientSource({
  datasetDir,
  split,
  source,
  task,
}: GradientSourceOptions): Promise<{ readonly source: GradientSource; close(): Promise<void> }> {
  const which = (split.training ?? 0) > 0 ? 'training' : 'calibration'
  const samples = await openSamples({ datasetDir, split, which }, describeIo(source).inputs)
  const { count, hasLabels, feedsAt: feeds, labelsAt: labels } = samples
  return {
    source: { data: { count, hasLabels, feeds, labels }, split: which, task },
    close: () => samples.close(),
  }
}
