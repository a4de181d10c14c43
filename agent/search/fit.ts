import type { Digest, Objective, Profile, SplitSpec, Task } from '@edgefit/shared/model'
import { loadModel, operatorHistogram } from '@edgefit/shared/onnx'
import type { JobProgress } from '../measure/jobs.ts'
import type { JobRunner } from '../measure/runner.ts'
import { threadsFor } from '../profile/threads-for.ts'
import { quantizationCandidates, runtimeCandidates } from './candidates.ts'
import { createChildLab, type LabLimits } from './child-lab.ts'
import { pruningCandidates } from './pruning-candidates.ts'
import { runStudy } from './study.ts'
import { type StudyStore, studyKey } from './study-store.ts'
import type { StudyEvent, StudyResult } from './study-types.ts'

export interface FitInput {
  readonly source: { readonly path: string; readonly digest: Digest; readonly sizeBytes: number }
  /** An unpacked dataset. */
  readonly dataset: { readonly dir: string; readonly digest: Digest }
  readonly split: SplitSpec
  readonly task: Task
  readonly objective: Objective
  readonly budgetMs: number
  readonly workDir: string
  /** Where it is kept how long operators take on this box, for all studies. */
  readonly latencyDir: string
  readonly profile: Profile
}

export interface FitPorts {
  readonly runner: JobRunner
  readonly store: StudyStore
  readonly limits: LabLimits
  /** Epoch milliseconds. */
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly onEvent: (event: StudyEvent) => Promise<void> | void
  /** Of the job that runs. */
  readonly onProgress?: (progress: JobProgress) => void
}

/** Fits `source` to this box: the one search behind `edgefit-agent optimize` and every deployment. */
export async function fitModel(input: FitInput, ports: FitPorts, signal: AbortSignal): Promise<StudyResult> {
  const { source, dataset, split, task, objective, profile } = input
  const operators = operatorHistogram(await loadModel(source.path))
  const lab = await createChildLab({
    runner: ports.runner,
    sourcePath: source.path,
    datasetDir: dataset.dir,
    split,
    task,
    workDir: input.workDir,
    latencyDir: input.latencyDir,
    calibrationThreads: threadsFor(profile.limits.cpus),
    hardwareClass: profile.hardwareClass,
    now: ports.now,
    monotonicNow: ports.monotonicNow,
    limits: ports.limits,
    ...(ports.onProgress && { onProgress: ports.onProgress }),
  })
  const { hardwareClass, runtimeVersion, agentVersion } = profile
  const study = {
    key: studyKey({
      sourceDigest: source.digest,
      datasetDigest: dataset.digest,
      split,
      task,
      hardwareClass,
      runtimeVersion,
      agentVersion,
    }),
    sourcePath: source.path,
    sourceDigest: source.digest,
    sourceSizeBytes: source.sizeBytes,
    objective,
    runtimeCandidates: runtimeCandidates(profile.limits.cpus),
    candidates: (runtime: Parameters<typeof quantizationCandidates>[0]['runtime']) =>
      quantizationCandidates({ cpu: profile.cpu, operators, calibrationSamples: split.calibration, runtime }),
    pruning: (runtime: Parameters<typeof pruningCandidates>[0]['runtime']) =>
      pruningCandidates({ cpu: profile.cpu, operators, calibrationSamples: split.calibration, runtime }),
    budgetMs: input.budgetMs,
  }
  return await runStudy(study, { ...ports, lab }, signal)
}
