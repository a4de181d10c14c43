import { writeFileSync } from 'node:fs'
import { EdgefitError } from '@edgefit/shared'
import { TrialFailure } from '@edgefit/shared/model'
import { Job, type JobKind, type JobOf, type JobProgress, type JobValue } from './jobs.ts'
import type { ChildMessage } from './messages.ts'
import { peakRssBytes } from './process-memory.ts'

export type JobHandlers = {
  readonly [Kind in JobKind]: (
    job: JobOf<Kind>,
    report: (stage: JobProgress['stage'], fraction?: number, detail?: string) => void,
  ) => Promise<JobValue<Kind>>
}

/** The child's side: takes one job from the parent, answers, and waits to be killed. */
export function serveJob(handlers: JobHandlers): void {
  volunteerForOutOfMemoryKiller()
  // The parent is gone. Inside a blocking run this is heard only after it; `setpriv --pdeathsig` does not wait.
  process.once('disconnect', () => process.exit(1))
  process.once('message', (raw: unknown) => {
    answerTo(Job.parse(raw), handlers).then(send, (error: unknown) => send(failureOf(error)))
  })
  send({ type: 'ready' })
}

async function answerTo<Kind extends JobKind>(job: JobOf<Kind>, handlers: JobHandlers): Promise<ChildMessage> {
  const handler: JobHandlers[Kind] = handlers[job.kind]
  const value = await handler(job, progressReporter())
  return { type: 'done', value, peakRssBytes: peakRssBytes('self') ?? 0 }
}

/** Within a stage few reports are sent: handlers may report after every query, and messages cost time. */
const REPORT_MS = 500

function progressReporter(): (stage: JobProgress['stage'], fraction?: number, detail?: string) => void {
  let last: JobProgress['stage'] | undefined
  let dueMs = 0
  return (stage, fraction, detail) => {
    const nowMs = performance.now()
    if (stage === last && nowMs < dueMs) return
    last = stage
    dueMs = nowMs + REPORT_MS
    send({ type: 'progress', progress: { stage, fraction: fraction ?? null, ...(detail && { detail }) } })
  }
}

/** What is the recipe's fault is a failed trial; what is the input's is refused; the rest is a bug, so a crash. */
function failureOf(error: unknown): ChildMessage {
  if (!(error instanceof EdgefitError)) {
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error)
    if (isNoSpace(error)) return { type: 'failed', reason: 'no-space', message: words }
    if (error instanceof RangeError && /allocation failed/i.test(error.message)) {
      return { type: 'failed', reason: 'out-of-memory', message: error.message }
    }
    return { type: 'failed', reason: 'crashed', message: words }
  }
  const { code, details } = error
  const message = withCauses(error)
  if (code === 'MODEL_INVALID' || code === 'MODEL_UNSUPPORTED') {
    return { type: 'failed', reason: 'unsupported', message }
  }
  if (code === 'PASS_FAILED') return { type: 'failed', reason: 'pass-failed', message }
  if (code === 'DISK_FULL') return { type: 'failed', reason: 'no-space', message }
  if (code === 'TRIAL_FAILED') {
    return { type: 'failed', reason: TrialFailure.catch('crashed').parse(details['reason']), message }
  }
  return { type: 'refused', code, message }
}

function withCauses(error: Error): string {
  const words = [error.message]
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    const { message } = cause
    if (!words.some((earlier) => earlier.includes(message))) words.push(message)
  }
  return words.join(': ')
}

function isNoSpace(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}

function send(message: ChildMessage): void {
  process.send?.(message)
}

/** When the host runs out of memory the kernel shall take this process, not the agent or what else runs there. */
function volunteerForOutOfMemoryKiller(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000')
  } catch {
    // Not every container may; the memory limit of the parent still holds.
  }
}
