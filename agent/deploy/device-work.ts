import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import type { ArtifactStore } from '@edgefit/shared/artifact'
import { type ArtifactRef, type Profile, recipeDigest } from '@edgefit/shared/model'
import type { DeploymentGoal, ReportBody } from '@edgefit/shared/protocol'
import type { JobRunner } from '../measure/runner.ts'
import type { LabLimits } from '../search/child-lab.ts'
import { fitModel } from '../search/fit.ts'
import type { StudyEvent, StudyResult } from '../search/study.ts'
import type { StudyStore } from '../search/study-store.ts'
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
}

const INSPECT_TIMEOUT_MS = 10 * 60_000

/** The steps of a deployment as this box does them. */
export function createDeviceWork(ports: DeviceWorkPorts): DeploymentWork {
  const { artifacts, slots, runner } = ports
  const work: DeploymentWork = {
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
      const { digest, sizeBytes } = model.artifact
      const input = {
        source: { path: artifacts.path(digest), digest, sizeBytes },
        dataset: { dir: datasetDirectory(ports.stateDir, dataset.artifact.digest), digest: dataset.artifact.digest },
        split: dataset.split,
        task: model.task,
        objective,
        budgetMs: search.budgetS * 1000,
        workDir,
        profile,
      }
      const onEvent = studyReporter(goal, report)
      const { runner, studies: store, limits, now } = ports
      const result = await fitModel(input, { runner, store, limits, now, onEvent }, signal)
      await report.onReport(resultReport(goal, result))
      // In the artifact store before it is on record: a restart then stages it without searching again.
      if (result.winner !== null) await artifacts.put(result.winner.path)
      await rm(workDir, { recursive: true, force: true })
      return searchResult(result)
    },

    async stage(slot, goal, { winner }) {
      if (winner === null) throw new EdgefitError('there is no winner to stage', { code: 'INTERNAL' })
      await artifacts.verify(winner.digest)
      const path = artifacts.path(winner.digest)
      return await slots.stage(path, await runtimeDocument(slot, goal, winner, path, ports.now()))
    },

    async activate(slot, version, signal) {
      await slots.activate(slot, version)
      await tellApplication(slot, signal)
    },

    async confirm(slot, signal) {
      const active = await slots.active(slot)
      if (active === undefined) throw new EdgefitError(`slot ${slot} serves nothing`, { code: 'INTERNAL' })
      const job = { kind: 'inspect', modelPath: active.modelPath, samples: null } as const
      const inspected = await runner.run<'inspect'>(job, { timeoutMs: INSPECT_TIMEOUT_MS }, signal)
      if (inspected.kind === 'failed') {
        throw new EdgefitError(`the active model does not load: ${inspected.message}`, { code: 'INTERNAL' })
      }
      await slots.tidy()
    },

    async rollBack(slot, signal) {
      const returned = await slots.rollBack(slot)
      // What serves is the pointer's business: an application that refuses its old model too changes nothing about it.
      if (returned) await tellApplication(slot, signal).catch(() => signal.throwIfAborted())
      return returned
    },

    async running(slot) {
      return (await slots.active(slot))?.runtime.variant.digest ?? null
    },
  }

  const tellApplication = async (slot: string, signal: AbortSignal) => {
    if (ports.onActivate === undefined) return
    const folder = join(ports.stateDir, 'active', slot)
    const names = { name: slot, modelPath: join(folder, 'model.onnx'), runtimePath: join(folder, 'runtime.json') }
    await stat(names.modelPath)
    await runActivationHook(ports.onActivate, names, signal)
  }
  return work
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
