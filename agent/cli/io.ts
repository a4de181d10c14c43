import type { JobProgress } from '../measure/jobs.ts'
import { createProgress, type Progress } from './progress.ts'

/** What a verb needs of the world around the process. */
export interface CliIo {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  /** Aborted on SIGINT and SIGTERM. */
  readonly signal: AbortSignal
  /** Epoch milliseconds. */
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly random: () => number
}

/** The one document of a verb: JSON with `--json`, else the text for people. */
export function printResult(io: CliIo, json: boolean, value: unknown, text: () => string): void {
  io.stdout.write(json ? `${JSON.stringify(value, null, 2)}\n` : `${text()}\n`)
}

export function progressOf(io: CliIo, json: boolean): Progress {
  return createProgress(io.stderr, json, io.monotonicNow)
}

/** Shows how much of a job is done, where it says so. */
export function jobShares(progress: Progress): (job: JobProgress) => void {
  return ({ fraction }) => {
    if (fraction !== null) progress.share(fraction)
  }
}
