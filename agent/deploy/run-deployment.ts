import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError } from '@edgefit/shared'
import type { DeploymentPhase, Digest } from '@edgefit/shared/model'
import type { DeploymentGoal, ReportBody, StatusReport } from '@edgefit/shared/protocol'
import { terminalOf } from './failure.ts'
import { nextStep, type Step } from './next-step.ts'
import type { DeploymentRecord, SearchResult, Terminal } from './record.ts'

type Progress = NonNullable<StatusReport['progress']>
type OnProgress = (progress: Progress) => void

/** What the steps do; each may run again after a restart and then finds its work done. */
export interface DeploymentWork {
  download(goal: DeploymentGoal, onProgress: OnProgress, signal: AbortSignal): Promise<void>
  /** Model, dataset and their fit. */
  verify(goal: DeploymentGoal, signal: AbortSignal): Promise<void>
  search(
    goal: DeploymentGoal,
    report: {
      onProgress: OnProgress
      onPhase: (phase: DeploymentPhase) => void
      onReport: (body: ReportBody) => Promise<void>
    },
    signal: AbortSignal,
  ): Promise<SearchResult>
  stage(slot: string, goal: DeploymentGoal, result: SearchResult): Promise<string>
  /** Switches the pointer and tells the application. */
  activate(slot: string, version: string, signal: AbortSignal): Promise<void>
  /** Loads what serves now, in a child. */
  confirm(slot: string, signal: AbortSignal): Promise<void>
  /** False where there was nothing to return to. */
  rollBack(slot: string, signal: AbortSignal): Promise<boolean>
  running(slot: string): Promise<Digest | null>
}

export interface DeploymentPorts {
  readonly work: DeploymentWork
  /** Committed to disk when the promise resolves. */
  readonly save: (record: DeploymentRecord) => Promise<void>
  /** Journalled when the promise resolves. */
  readonly report: (body: ReportBody) => Promise<void>
  /** For figures that the next ones replace; never rejects. */
  readonly reportProgress: (body: ReportBody) => void
  readonly windowOpen: () => boolean
  readonly now: () => number
  /** Poll interval while waiting for the maintenance window. */
  readonly windowPollMs: number
}

const MINUTE_MS = 60_000
const PROGRESS_INTERVAL_MS = 1000

/** Every phase ends: a step that takes longer is `timed_out`. A search adds its own budget. */
const STEP_LIMIT_MS = {
  download: 24 * 60 * MINUTE_MS,
  verify: 30 * MINUTE_MS,
  search: 60 * MINUTE_MS,
  stage: 10 * MINUTE_MS,
  activate: 5 * MINUTE_MS,
  confirm: 10 * MINUTE_MS,
} as const

/**
 * Takes one slot from what is on record to a terminal status. Resolves when the deployment rests; rejects only when
 * `signal` is aborted, and then the record stands for the next start.
 */
export async function runDeployment(
  slot: string,
  goal: DeploymentGoal,
  start: DeploymentRecord,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<DeploymentRecord> {
  let record = start
  for (;;) {
    signal.throwIfAborted()
    const step = nextStep(record, ports.windowOpen())
    if (step.kind === 'rest') return record
    const change = await perform(step, slot, goal, record, ports, signal)
    record = { ...record, ...change }
    await ports.save(record)
    if (record.terminal !== null)
      await ports.report(await statusReport(slot, goal, ports, { terminal: record.terminal }))
  }
}

async function perform(
  step: Step,
  slot: string,
  goal: DeploymentGoal,
  record: DeploymentRecord,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<Partial<DeploymentRecord>> {
  if (step.kind === 'rest') return {}
  if (step.kind === 'finish') return { terminal: step.terminal }
  await ports.report(await statusReport(slot, goal, ports, { phase: step.phase }))
  if (step.kind === 'defer') {
    while (!ports.windowOpen()) await sleep(ports.windowPollMs, undefined, { signal })
    return {}
  }
  const limitMs = STEP_LIMIT_MS[step.kind] + (step.kind === 'search' ? goal.search.budgetS * 1000 : 0)
  const limit = AbortSignal.timeout(limitMs)
  try {
    return await run(step.kind, slot, goal, record, ports, AbortSignal.any([signal, limit]))
  } catch (error) {
    signal.throwIfAborted()
    const outcome = await outcomeAfterFailure(step.kind, slot, goal, ports, signal)
    if (limit.aborted) {
      const message = `${step.phase} took more than ${Math.round(limitMs / MINUTE_MS)} minutes`
      return { terminal: { status: 'timed_out', reason: 'phase-timeout', message, outcome } }
    }
    const terminal = terminalOf(error, outcome)
    const activating = step.kind === 'activate' || step.kind === 'confirm'
    return {
      terminal: activating && terminal.reason === 'internal' ? { ...terminal, reason: 'activation-failed' } : terminal,
    }
  }
}

async function run(
  kind: keyof typeof STEP_LIMIT_MS,
  slot: string,
  goal: DeploymentGoal,
  record: DeploymentRecord,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<Partial<DeploymentRecord>> {
  const { work } = ports
  const onProgress = throttledProgress(slot, goal, ports, kind === 'download' ? 'downloading' : 'searching')
  switch (kind) {
    case 'download':
      await work.download(goal, onProgress, signal)
      return { downloaded: true }
    case 'verify':
      await work.verify(goal, signal)
      return { verified: true }
    case 'search': {
      const onPhase = (phase: DeploymentPhase) => {
        void statusReport(slot, goal, ports, { phase }).then(ports.reportProgress)
      }
      return { result: await work.search(goal, { onProgress, onPhase, onReport: ports.report }, signal) }
    }
    case 'stage':
      return { staged: await work.stage(slot, goal, resultOf(record)) }
    case 'activate':
      await work.activate(slot, record.staged ?? '', signal)
      return { activated: true }
    case 'confirm':
      await work.confirm(slot, signal)
      return { terminal: succeeded(resultOf(record)) }
  }
}

function succeeded(result: SearchResult): Terminal {
  return { status: 'succeeded', reason: 'objective-met', message: result.reasons.join('. '), outcome: 'activated' }
}

function resultOf({ result }: DeploymentRecord): SearchResult {
  if (result === null)
    throw new EdgefitError('a deployment without a search result cannot be staged', { code: 'INTERNAL' })
  return result
}

/** Only a failed activation has changed what serves; then the previous model comes back. */
async function outcomeAfterFailure(
  kind: keyof typeof STEP_LIMIT_MS,
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<Terminal['outcome']> {
  if (kind !== 'activate' && kind !== 'confirm') return 'unchanged'
  await ports.report(await statusReport(slot, goal, ports, { phase: 'rolling_back' }))
  try {
    return (await ports.work.rollBack(slot, signal)) ? 'rolled_back' : 'unable_to_roll_back'
  } catch {
    signal.throwIfAborted()
    return 'unable_to_roll_back'
  }
}

function throttledProgress(
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  phase: DeploymentPhase,
): OnProgress {
  let lastMs = Number.NEGATIVE_INFINITY
  return (progress) => {
    if (ports.now() - lastMs < PROGRESS_INTERVAL_MS) return
    lastMs = ports.now()
    void statusReport(slot, goal, ports, { phase, progress }).then(ports.reportProgress)
  }
}

async function statusReport(
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  now: { phase?: DeploymentPhase; progress?: Progress; terminal?: Terminal },
): Promise<StatusReport> {
  return {
    kind: 'status',
    deploymentId: goal.deploymentId,
    attempt: goal.attempt,
    slot,
    status: now.terminal?.status ?? 'in_progress',
    phase: now.phase ?? null,
    reason: now.terminal?.reason ?? null,
    message: now.terminal?.message.slice(0, 4000) ?? null,
    outcome: now.terminal?.outcome ?? null,
    running: await ports.work.running(slot),
    progress: now.progress ?? null,
  }
}
