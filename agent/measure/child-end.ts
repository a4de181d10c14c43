import type { JobFailure } from './runner.ts'

/** Why the parent killed a child. */
export type KillCause =
  | { readonly cause: 'aborted' }
  | { readonly cause: 'timeout' | 'stalled'; readonly timeoutMs: number }
  | { readonly cause: 'lock-timeout'; readonly lockPath: string; readonly lockTimeoutMs: number }
  | { readonly cause: 'memory'; readonly peakRssBytes: number; readonly limitBytes: number }

/** How a child ended that gave no answer. */
export interface ChildEnd {
  readonly exitCode: number | null
  readonly exitSignal: string | null
  readonly killed: KillCause | undefined
  /** The last of what it wrote to stderr. */
  readonly stderr: string
  readonly peakRssBytes: number
  /** The kernel killed some process for want of memory while this one ran. */
  readonly kernelOutOfMemory: boolean
}

/** Turns the end of a child without an answer into a reason and words. */
export function describeChildEnd(end: ChildEnd): JobFailure {
  const { killed } = end
  if (killed) return failed(...describeKill(killed))
  const memory = `its memory had peaked at ${megabytes(end.peakRssBytes)}`
  if (end.exitSignal === 'SIGKILL' && end.kernelOutOfMemory) {
    return failed('out-of-memory', `the kernel killed the process because the host ran out of memory; ${memory}`)
  }
  const lastLines = tail(end.stderr)
  const how = end.exitSignal === null ? `exit code ${end.exitCode}` : `signal ${end.exitSignal}`
  // V8 aborts when its heap is full; an allocation that C++ code does not catch aborts as well.
  if (/heap out of memory|std::bad_alloc/.test(end.stderr)) {
    return failed('out-of-memory', `an allocation failed (${how}); ${memory}`)
  }
  return failed('crashed', `the process ended with ${how}; ${memory}${lastLines && `\n${lastLines}`}`)
}

function describeKill(killed: KillCause): [JobFailure['reason'], string] {
  switch (killed.cause) {
    case 'aborted':
      return ['interrupted', 'stopped on request']
    case 'timeout':
      return ['timeout', `not finished within ${seconds(killed.timeoutMs)}`]
    case 'stalled':
      return ['timeout', `no progress for ${seconds(killed.timeoutMs)}`]
    case 'lock-timeout':
      return [
        'timeout',
        `another process on this host kept ${killed.lockPath} locked for ${seconds(killed.lockTimeoutMs)}`,
      ]
    case 'memory':
      return [
        'out-of-memory',
        `resident memory reached ${megabytes(killed.peakRssBytes)}, the limit is ${megabytes(killed.limitBytes)}`,
      ]
  }
}

function failed(reason: JobFailure['reason'], message: string): JobFailure {
  return { kind: 'failed', reason, message }
}

const LAST_LINES = 5

function tail(stderr: string): string {
  // Node appends its own frames, which push out what the library said before it aborted.
  const said = stderr.split(/^-+ (?:Native|JavaScript) stack trace -+$/m, 1)[0] ?? ''
  return said.trim().split('\n').slice(-LAST_LINES).join('\n')
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

function seconds(durationMs: number): string {
  return `${durationMs / 1000} s`
}
