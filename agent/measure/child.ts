import { type ChildProcess, spawn } from 'node:child_process'
import { EdgefitError, parseWith } from '@edgefit/shared'
import { describeChildEnd, type KillCause } from './child-end.ts'
import { JOB_RESULTS, type JobKind, type JobOf, type JobProgress, type JobValue } from './jobs.ts'
import { launchCommand } from './launcher.ts'
import { ChildMessage } from './messages.ts'
import { oomKillCount, peakRssBytes, programName } from './process-memory.ts'
import type { JobResult, JobRunner, RunOptions } from './runner.ts'

export interface ChildRunnerOptions {
  /** Held while a job runs; every agent on the host names the same file. Made where absent. */
  readonly lockPath: string
  /** CPUs the children may use, as `taskset -c` takes them: `0-3` or `2,3`. All that the agent may use by default. */
  readonly cpus?: string
  /** A child whose resident memory grows above this is killed: `out-of-memory`. */
  readonly memoryLimitBytes?: number
  /** How long another process on the host may keep the lock, apart from `timeoutMs`. Default 30 minutes. */
  readonly lockTimeoutMs?: number
  /** Default: the worker beside this file. */
  readonly workerEntry?: URL
  /** How node is started, default `[process.execPath]`. An emulator goes in front. */
  readonly nodeCommand?: readonly string[]
}

const DEFAULT_LOCK_TIMEOUT_MS = 30 * 60_000
const POLL_MS = 50
/** What the pipes may still hold after a child is gone; they close at once unless a process of its own kept them. */
const DRAIN_MS = 500
const STDERR_LIMIT = 8192

/**
 * The {@link JobRunner} of the agent.
 *
 * Call it from the main thread: the kernel ties a child to the thread that started it.
 *
 * @throws EdgefitError CONFIG_INVALID when the host lacks `flock`, or the lock file cannot be opened.
 */
export async function createChildRunner(options: ChildRunnerOptions): Promise<JobRunner> {
  const { workerEntry = defaultWorker(), nodeCommand = [process.execPath], ...rest } = options
  const command = await launchCommand({ ...rest, workerEntry, nodeCommand })
  return {
    run: (job, runOptions, signal) => runChild(command, options, job, runOptions, signal),
  }
}

function defaultWorker(): URL {
  // Literal paths, so that tools that follow imports find the worker.
  return import.meta.url.endsWith('.ts')
    ? new URL('./worker.ts', import.meta.url)
    : new URL('./worker.js', import.meta.url)
}

type Answer = Extract<ChildMessage, { readonly type: 'done' | 'failed' | 'refused' }>

async function runChild<Kind extends JobKind>(
  command: readonly string[],
  options: ChildRunnerOptions,
  job: JobOf<Kind>,
  { timeoutMs, onProgress }: RunOptions,
  signal: AbortSignal,
): Promise<JobResult<Kind>> {
  if (signal.aborted) return { kind: 'failed', reason: 'interrupted', message: 'stopped on request' }
  const { lockPath, lockTimeoutMs = DEFAULT_LOCK_TIMEOUT_MS, memoryLimitBytes: limitBytes } = options
  const oomKillsBefore = oomKillCount()
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })

  let killed: KillCause | undefined
  let answer: Answer | undefined
  let ready = false
  let waiting = false
  let peak = 0
  let stderr = ''
  const kill = (cause: KillCause) => {
    killed ??= cause
    child.kill('SIGKILL')
  }
  const onAbort = () => kill({ cause: 'aborted' })
  // How long a build takes is the recipe's business, training has limits of its own: it may just not stand still.
  const mayTakeLong = job.kind === 'build'
  const limited = () => setTimeout(() => kill({ cause: mayTakeLong ? 'stalled' : 'timeout', timeoutMs }), timeoutMs)
  let progress: JobProgress | undefined
  let timer = setTimeout(() => kill({ cause: 'lock-timeout', lockPath, lockTimeoutMs }), lockTimeoutMs)
  const poll = setInterval(() => {
    if (child.pid === undefined) return
    if (!ready && !waiting && programName(child.pid) === 'flock') {
      waiting = true
      onProgress?.({ stage: 'waiting', fraction: null })
    }
    peak = Math.max(peak, peakRssBytes(child.pid) ?? 0)
    if (limitBytes !== undefined && peak > limitBytes) kill({ cause: 'memory', peakRssBytes: peak, limitBytes })
  }, POLL_MS)
  signal.addEventListener('abort', onAbort)
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_LIMIT)
  })
  child.on('message', (raw: unknown) => {
    const parsed = ChildMessage.safeParse(raw)
    if (!parsed.success || answer !== undefined) return
    const message = parsed.data
    if (message.type === 'ready') {
      ready = true
      clearTimeout(timer)
      timer = limited()
      // A child that died meanwhile is reported by its end, not by the failed send.
      child.send(job, () => undefined)
    } else if (message.type === 'progress') {
      const { stage, fraction, detail } = message.progress
      const comesForward = stage !== progress?.stage || fraction !== progress.fraction || detail !== progress.detail
      if (mayTakeLong && comesForward) {
        clearTimeout(timer)
        timer = limited()
      }
      progress = message.progress
      onProgress?.(progress)
    } else {
      answer = message
      // All was said. Tearing the runtime down takes time, and has crashed processes after their work was done.
      child.kill('SIGKILL')
    }
  })

  try {
    const { exitCode, exitSignal, startError } = await ended(child)
    if (startError) {
      return { kind: 'failed', reason: 'crashed', message: `cannot start ${program}: ${startError.message}` }
    }
    if (answer !== undefined) return resultOf(job, answer, peak)
    return describeChildEnd({
      exitCode,
      exitSignal,
      killed,
      stderr,
      peakRssBytes: peak,
      kernelOutOfMemory: (oomKillCount() ?? 0) > (oomKillsBefore ?? 0),
    })
  } finally {
    clearTimeout(timer)
    clearInterval(poll)
    signal.removeEventListener('abort', onAbort)
  }
}

interface End {
  readonly exitCode: number | null
  readonly exitSignal: string | null
  readonly startError?: Error
}

function ended(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (startError) => {
      if (child.pid === undefined) resolve({ exitCode: null, exitSignal: null, startError })
    })
    child.once('close', (exitCode, exitSignal) => resolve({ exitCode, exitSignal }))
    child.once('exit', (exitCode, exitSignal) => setTimeout(() => resolve({ exitCode, exitSignal }), DRAIN_MS).unref())
  })
}

function resultOf<Kind extends JobKind>(job: JobOf<Kind>, answer: Answer, peak: number): JobResult<Kind> {
  if (answer.type === 'failed') return { kind: 'failed', reason: answer.reason, message: answer.message }
  if (answer.type === 'refused') throw new EdgefitError(answer.message, { code: answer.code })
  const value = parseWith(JOB_RESULTS[job.kind], answer.value, `the result of the job ${job.kind}`, 'INTERNAL')
  // The schema was picked by the same kind; indexing by a type parameter loses that.
  return { kind: 'done', value: value as JobValue<Kind>, peakRssBytes: Math.max(peak, answer.peakRssBytes) }
}
