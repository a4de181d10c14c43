import type { Report } from '@edgefit/shared/protocol'
import { type Backoff, backoffDelayMs } from './backoff.ts'
import type { Bell } from './bell.ts'
import type { Outbox } from './outbox.ts'

export interface ReportSenderOptions {
  readonly outbox: Pick<Outbox, 'pending'>
  /** Rings when a report was added. */
  readonly added: Bell
  /** Rings when an acknowledgement came, or when one that is waited for will not come any more. */
  readonly resume: Bell
  readonly send: (reports: readonly Report[]) => Promise<void>
  readonly random: () => number
  readonly resend: Backoff
}

const BATCH_BYTES = 64 * 1024

/**
 * Sends what is pending, oldest first, one batch at a time, until `signal` is aborted (the connection is gone). What
 * is not acknowledged is sent again, after at least `resend.baseMs`, ever more rarely.
 */
export async function sendReports(options: ReportSenderOptions, signal: AbortSignal): Promise<void> {
  const { outbox, added, resume, send, random, resend } = options
  let failures = 0
  while (!signal.aborted) {
    const reports = await outbox.pending(BATCH_BYTES)
    if (signal.aborted) return
    if (reports.length === 0) {
      await added.wait(Number.POSITIVE_INFINITY, signal)
      continue
    }
    resume.silence()
    await send(reports)
    const waitMs = resend.baseMs + backoffDelayMs(failures, resend, random)
    failures = (await resume.wait(waitMs, signal)) ? 0 : failures + 1
  }
}
