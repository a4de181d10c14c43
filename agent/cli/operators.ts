import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RuntimeSettings } from '@edgefit/shared/model'
import { bindDimensions, checkModel, loadModel, saveModel, symbolicDimensions } from '@edgefit/shared/onnx'
import type { JobProgress, JobValue } from '../measure/jobs.ts'
import type { JobRunner } from '../measure/runner.ts'
import { DEFAULT_LIMITS } from '../search/child-lab.ts'
import { orThrow } from '../search/step-error.ts'

export interface OperatorsInput {
  readonly modelPath: string
  /** Of open dimensions, by name; those not named are 1. */
  readonly lengths: Readonly<Record<string, number>>
  readonly runtime: RuntimeSettings
}

export interface OperatorsPorts {
  readonly runner: JobRunner
  readonly hardwareClass: string
  /** Where it is kept how long operators take on this box. */
  readonly latencyDir: string
  readonly onProgress: (progress: JobProgress) => void
}

export type OperatorTimes = JobValue<'time-operators'>['models'][number]

/**
 * Where the time of a model goes on this box: the operators that the runtime really runs, each timed alone, and how far
 * their sum is from the whole model.
 *
 * @throws EdgefitError INPUT_INVALID for a dimension that the model does not have; MODEL_INVALID; MODEL_UNSUPPORTED for
 * what the runtime refuses
 */
export async function timedOperators(
  { modelPath, lengths, runtime }: OperatorsInput,
  { runner, hardwareClass, latencyDir: tableFolder, onProgress }: OperatorsPorts,
  signal: AbortSignal,
): Promise<OperatorTimes> {
  const model = await loadModel(modelPath)
  checkModel(model)
  const ones = Object.fromEntries([...symbolicDimensions(model)].map((name) => [name, 1]))
  const bound = bindDimensions(model, { ...ones, ...lengths })
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-operators-'))
  try {
    const path = join(folder, 'model.onnx')
    await saveModel(path, bound)
    const result = await runner.run<'time-operators'>(
      { kind: 'time-operators', modelPaths: [path], tableFolder, compare: true, hardwareClass, runtime },
      { timeoutMs: DEFAULT_LIMITS.stepTimeoutMs, onProgress },
      signal,
    )
    signal.throwIfAborted()
    const { value } = orThrow('the operators could not be timed', result)
    const [times] = value.models
    if (times === undefined) throw new RangeError('the job said nothing of its only model')
    return times
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
