import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError } from '@edgefit/shared'
import type { DeploymentPhase, Digest } from '@edgefit/shared/model'
import type { DeploymentGoal, ReportBody, StatusReport } from '@edgefit/shared/protocol'
import { terminalOf } from './failure.ts'
import { goalFault } from './goal-fault.ts'
import { nextStep, type Step } from './next-step.ts'
import type { DeploymentRecord, SearchResult, Terminal } from './record.ts'
import { statusReport } from './status-report.ts'

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
  stage(slot: string, goal: DeploymentGoal, result: SearchResult, signal: AbortSignal): Promise<string>
  /** Switches the pointer and tells the application. */
  activate(slot: string, version: string, signal: AbortSignal): Promise<void>
  /** Loads `version` in a child; rejects as well where another one serves. */
  confirm(slot: string, version: string, signal: AbortSignal): Promise<void>
  /** The version that serves now. */
  serving(slot: string): Promise<string | undefined>
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
  /** Milliseconds that only grow, whatever becomes of the clock. */
  readonly monotonicNow: () => number
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
  // Other agents of this host may be measuring: a model that has to wait for its turn is not a bad one.
  confirm: 20 * MINUTE_MS,
} as const
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * Takes one slot from what is on record to a terminal status, and that into the outbox. Resolves when the deployment
 * rests; rejects when `signal` is aborted or the journal cannot be written, and then the record stands for the next
 * start.
 */
export async function runDeployment(
  slot: string,
  goal: DeploymentGoal,
  start: DeploymentRecord,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<DeploymentRecord> {
  const fault = start.terminal === null ? goalFault(goal) : undefined
  let record = fault === undefined ? start : { ...start, terminal: refusal(fault) }
  for (;;) {
    signal.throwIfAborted()
    const step = nextStep(record, record.terminal === null && ports.windowOpen())
    if (step.kind === 'rest') return record
    const change = await perform(step, slot, goal, record, ports, signal)
    record = { ...record, ...change }
    await ports.save(record)
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
  if (step.kind === 'announce') {
    await ports.report(await statusNow(slot, goal, ports, step.terminal))
    return { announced: true }
  }
  await ports.report(await statusNow(slot, goal, ports, { phase: step.phase }))
  if (step.kind === 'defer') {
    while (!ports.windowOpen()) await sleep(ports.windowPollMs, undefined, { signal })
    return {}
  }
  const limitMs = STEP_LIMIT_MS[step.kind] + (step.kind === 'search' ? goal.search.budgetS * 1000 : 0)
  const limit = AbortSignal.timeout(Math.min(limitMs, LONGEST_TIMER_MS))
  try {
    return await run(step.kind, slot, goal, record, ports, AbortSignal.any([signal, limit]))
  } catch (error) {
    signal.throwIfAborted()
    const outcome = await outcomeAfterFailure(step.kind, slot, goal, record, ports, signal)
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
    case 'search':
      return await search(slot, goal, ports, onProgress, signal)
    case 'stage':
      return { staged: await work.stage(slot, goal, resultOf(record), signal) }
    case 'activate':
      await work.activate(slot, record.staged ?? '', signal)
      return { activated: true }
    case 'confirm':
      await work.confirm(slot, record.staged ?? '', signal)
      return { terminal: succeeded(resultOf(record)) }
  }
}

/**
 * Where the maintenance window closes, the search ends with the trial that runs, and goes on from the journal when it
 * opens again: each window brings it forward by one trial at least.
 */
async function search(
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<Partial<DeploymentRecord>> {
  const closed = new AbortController()
  const report = {
    onProgress,
    onPhase: (phase: DeploymentPhase) => reportInPassing(slot, goal, ports, { phase }),
    onReport: async (body: ReportBody) => {
      await ports.report(body)
      if (body.kind === 'trial' && !ports.windowOpen()) closed.abort()
    },
  }
  try {
    return { result: await ports.work.search(goal, report, AbortSignal.any([signal, closed.signal])) }
  } catch (error) {
    signal.throwIfAborted()
    if (closed.signal.aborted) return {}
    throw error
  }
}

function refusal(message: string): Terminal {
  return { status: 'rejected', reason: 'goal-invalid', message, outcome: 'unchanged' }
}

function succeeded(result: SearchResult): Terminal {
  return { status: 'succeeded', reason: 'objective-met', message: result.reasons.join('. '), outcome: 'activated' }
}

function resultOf({ result }: DeploymentRecord): SearchResult {
  if (result === null)
    throw new EdgefitError('a deployment without a search result cannot be staged', { code: 'INTERNAL' })
  return result
}

/** Only where the pointer was switched to this deployment's version has anything changed; then the previous one comes back. */
async function outcomeAfterFailure(
  kind: keyof typeof STEP_LIMIT_MS,
  slot: string,
  goal: DeploymentGoal,
  { staged, activated }: DeploymentRecord,
  ports: DeploymentPorts,
  signal: AbortSignal,
): Promise<Terminal['outcome']> {
  if (kind !== 'activate' && kind !== 'confirm') return 'unchanged'
  // Either never switched to, or already rolled back: by hand, or by this agent before it was killed.
  if ((await ports.work.serving(slot)) !== staged) return activated ? 'rolled_back' : 'unchanged'
  await ports.report(await statusNow(slot, goal, ports, { phase: 'rolling_back' }))
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
    if (ports.monotonicNow() - lastMs < PROGRESS_INTERVAL_MS) return
    lastMs = ports.monotonicNow()
    reportInPassing(slot, goal, ports, { phase, progress })
  }
}

/** Nothing waits for it, and the next one makes up for its loss. */
function reportInPassing(
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  now: { phase: DeploymentPhase; progress?: Progress },
): void {
  void statusNow(slot, goal, ports, now).then(ports.reportProgress, () => undefined)
}

async function statusNow(
  slot: string,
  goal: DeploymentGoal,
  ports: DeploymentPorts,
  now: Terminal | { readonly phase: DeploymentPhase; readonly progress?: Progress },
): Promise<StatusReport> {
  return statusReport(slot, goal, { status: 'in_progress', ...now, running: await ports.work.running(slot) })
}
