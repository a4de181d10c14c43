import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import type { ArtifactStore } from '@edgefit/shared/artifact'
import { unpackNpz } from '@edgefit/shared/dataset'
import { type ArtifactRef, type Digest, type Profile, recipeDigest } from '@edgefit/shared/model'
import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import type { JobRunner } from '../measure/runner.ts'
import type { LabLimits } from '../search/child-lab.ts'
import { fitModel } from '../search/fit.ts'
import type { StudyStore } from '../search/study-store.ts'
import type { StudyEvent, StudyResult } from '../search/study-types.ts'
import { runActivationHook } from './activation-hook.ts'
import { datasetDirectory, prepareModelAndData } from './prepare.ts'
import type { SearchResult } from './record.ts'
import type { DeploymentWork } from './run-deployment.ts'
import { runtimeDocument } from './runtime-document.ts'
import type { SlotStore } from './slots.ts'

export interface DeviceWorkPorts {
  readonly stateDir: string
  readonly artifacts: ArtifactStore
  readonly slots: SlotStore
  readonly studies: StudyStore
  readonly runner: JobRunner
  readonly limits: LabLimits
  readonly profile: (signal: AbortSignal) => Promise<Profile>
  readonly fetch: (ref: ArtifactRef, onBytes: (done: number) => void, signal: AbortSignal) => Promise<void>
  /** A shell command that tells the box's application of a change; undefined for none. */
  readonly onActivate: string | undefined
  readonly now: () => number
  readonly monotonicNow: () => number
}

const INSPECT_TIMEOUT_MS = 10 * 60_000

export interface DeviceWork extends DeploymentWork {
  /** Deletes all artifacts but these and those that a deployment needs and no record names yet. */
  retain(digests: readonly Digest[]): Promise<void>
}

/** The steps of a deployment as this box does them. */
export function createDeviceWork(ports: DeviceWorkPorts): DeviceWork {
  const { artifacts, slots, runner } = ports
  /** By deployment: between the end of its search and its staging, the record of the winner may not be saved yet. */
  const winners = new Map<string, Digest>()
  let retaining: Promise<unknown> = Promise.resolve()
  return {
    async retain(digests) {
      const done = artifacts.retain([...digests, ...winners.values()])
      retaining = done.catch(() => undefined)
      await done
    },

    async download({ model, dataset }, onProgress, signal) {
      const refs = [model.artifact, dataset.artifact]
      const bytesTotal = refs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      let before = 0
      for (const ref of refs) {
        const base = before
        await ports.fetch(ref, (done) => onProgress({ bytesDone: base + done, bytesTotal }), signal)
        before += ref.sizeBytes
      }
    },

    async verify({ model, dataset }, signal) {
      await artifacts.verify(model.artifact.digest, signal)
      await artifacts.verify(dataset.artifact.digest, signal)
      const input = {
        modelPath: artifacts.path(model.artifact.digest),
        npzPath: artifacts.path(dataset.artifact.digest),
        datasetDir: datasetDirectory(ports.stateDir, dataset.artifact.digest),
        split: dataset.split,
        task: model.task,
      }
      await prepareModelAndData(input, runner, signal)
    },

    async search(goal, report, signal) {
      const profile = await ports.profile(signal)
      const { model, dataset, objective, search } = goal
      const workDir = join(ports.stateDir, 'work', goal.deploymentId)
      const datasetDir = datasetDirectory(ports.stateDir, dataset.artifact.digest)
      // It was unpacked to be verified; days may have passed since.
      await unpackNpz(artifacts.path(dataset.artifact.digest), datasetDir, signal)
      const { digest, sizeBytes } = model.artifact
      const input = {
        source: { path: artifacts.path(digest), digest, sizeBytes },
        dataset: { dir: datasetDir, digest: dataset.artifact.digest },
        split: dataset.split,
        task: model.task,
        objective,
        budgetMs: search.budgetS * 1000,
        workDir,
        latencyDir: join(ports.stateDir, 'latency'),
        profile,
      }
      const onEvent = studyReporter(goal, report)
      const { studies: store, limits, now, monotonicNow } = ports
      try {
        const result = await fitModel(input, { runner, store, limits, now, monotonicNow, onEvent }, signal)
        await report.onReport(resultReport(goal, result))
        if (result.winner !== null) {
          winners.set(goal.deploymentId, result.winner.digest)
          await retaining
          // In the artifact store before it is on record: a restart then stages it without searching again.
          await artifacts.put(result.winner.path)
        }
        return searchResult(result)
      } finally {
        await rm(workDir, { recursive: true, force: true })
      }
    },

    async stage(slot, goal, { winner }, signal) {
      if (winner === null) throw new EdgefitError('there is no winner to stage', { code: 'INTERNAL' })
      await artifacts.verify(winner.digest, signal)
      const path = artifacts.path(winner.digest)
      const version = await slots.stage(path, await runtimeDocument(slot, goal, winner, path, ports.now()))
      winners.delete(goal.deploymentId)
      return version
    },

    async activate(slot, version, signal) {
      await slots.activate(slot, version)
      await tellApplication(ports, slot, signal)
    },

    async confirm(slot, version, signal) {
      const active = await slots.active(slot)
      if (active?.version !== version) {
        throw new EdgefitError(`slot ${slot} serves ${active?.version ?? 'nothing'} instead of ${version}`, {
          code: 'INTERNAL',
        })
      }
      const job = { kind: 'inspect', modelPath: active.modelPath, samples: null } as const
      const inspected = await runner.run<'inspect'>(job, { timeoutMs: INSPECT_TIMEOUT_MS }, signal)
      if (inspected.kind === 'failed') {
        throw new EdgefitError(`the active model does not load: ${inspected.message}`, { code: 'INTERNAL' })
      }
      // Two models stay. What cannot be deleted now is deleted by the next staging, and no reason to roll back.
      await slots.tidy(slot).catch(() => undefined)
    },

    async rollBack(slot, signal) {
      const returned = await slots.rollBack(slot)
      // What serves is the pointer's business: an application that refuses its old model too changes nothing about it.
      if (returned) await tellApplication(ports, slot, signal).catch(() => signal.throwIfAborted())
      return returned
    },

    async serving(slot) {
      return (await slots.active(slot))?.version
    },

    async running(slot) {
      return (await slots.active(slot))?.runtime?.variant.digest ?? null
    },
  }
}

async function tellApplication(
  { onActivate, stateDir }: DeviceWorkPorts,
  slot: string,
  signal: AbortSignal,
): Promise<void> {
  if (onActivate === undefined) return
  const folder = join(stateDir, 'active', slot)
  const names = { name: slot, modelPath: join(folder, 'model.onnx'), runtimePath: join(folder, 'runtime.json') }
  await stat(names.modelPath)
  await runActivationHook(onActivate, names, signal)
}

type SearchReporter = Parameters<DeploymentWork['search']>[1]

function studyReporter(
  { deploymentId, attempt }: DeploymentGoal,
  report: SearchReporter,
): (event: StudyEvent) => Promise<void> {
  let trialsPlanned = 0
  return async (event) => {
    if (event.kind === 'planned') trialsPlanned = event.trials
    if (event.kind === 'evaluating') report.onPhase('benchmarking')
    if (event.kind !== 'trial') return
    await report.onReport({ kind: 'trial', deploymentId, attempt, trial: event.trial })
    const { best, done } = event
    report.onProgress({
      trialsDone: done,
      trialsPlanned: Math.max(trialsPlanned, done),
      ...(best && {
        best: {
          label: best.label,
          p90BoundMs: best.measurement.latencyMs.p90Bound,
          accuracy: best.measurement.accuracy?.value ?? null,
        },
      }),
    })
  }
}

function resultReport({ deploymentId, attempt }: DeploymentGoal, result: StudyResult): ReportBody {
  const { verdict, baseline, winner, trials, reasons } = result
  return {
    kind: 'result',
    deploymentId,
    attempt,
    verdict,
    baseline,
    winner: winner && { trialId: winner.trialId, digest: winner.digest, measurement: winner.measurement },
    losses: Object.fromEntries(trials.map(({ id, losses }) => [String(id), losses])),
    reasons: [...reasons],
  }
}

function searchResult({ verdict, undecided, reasons, winner }: StudyResult): SearchResult {
  if (winner === null) return { verdict, undecided, reasons: [...reasons], winner }
  const { trialId, digest, sizeBytes, recipe, measurement } = winner
  return {
    verdict,
    undecided,
    reasons: [...reasons],
    winner: { trialId, digest, sizeBytes, recipe, recipeDigest: recipeDigest(recipe), measurement },
  }
}
