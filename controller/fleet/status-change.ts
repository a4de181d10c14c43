import { isTerminal } from '@edgefit/shared/model'
import type { StatusReport } from '@edgefit/shared/protocol'
import type { DeploymentRow } from '../store/schema.ts'

type Current = Pick<
  DeploymentRow,
  'attempt' | 'status' | 'status_by' | 'status_position' | 'phase' | 'started_at_ms' | 'phase_started_at_ms'
>

/**
 * What a device's status report changes in its deployment; undefined where it is about another attempt or older
 * than what is known. Whatever the order in which the reports of an attempt arrive, the last one standing is the
 * same:
 *
 * - a terminal status stands against any later progress, and gives way only to a newer terminal one of the device;
 * - a `timed_out` that the controller gave, having heard nothing, gives way to any terminal status of the device;
 * - a deployment that the controller withdrew (`cancelled`, `removed`) stays so: the report only tells what runs.
 */
export function statusChange(
  current: Current,
  report: StatusReport,
  position: number,
  nowMs: number,
): Partial<DeploymentRow> | undefined {
  if (report.attempt !== current.attempt) return undefined
  const terminal = isTerminal(report.status)
  const newer = current.status_position === null || position > current.status_position
  if (isTerminal(current.status)) {
    if (!terminal) return undefined
    if (current.status_by === 'device') return newer ? ended(report, position, nowMs) : undefined
    if (current.status === 'timed_out') return ended(report, position, nowMs)
    return newer ? { ...whatRuns(report), status_position: position } : undefined
  }
  if (terminal) return ended(report, position, nowMs)
  if (!newer) return undefined
  const samePhase = report.phase === current.phase && report.status === current.status
  return {
    status: report.status,
    status_by: 'device',
    status_position: position,
    phase: report.phase,
    message: report.message,
    progress: report.progress === null ? null : JSON.stringify(report.progress),
    ...whatRuns(report),
    started_at_ms: report.status === 'in_progress' ? (current.started_at_ms ?? nowMs) : current.started_at_ms,
    phase_started_at_ms: samePhase ? current.phase_started_at_ms : nowMs,
  }
}

function ended(report: StatusReport, position: number, nowMs: number): Partial<DeploymentRow> {
  return {
    status: report.status,
    status_by: 'device',
    status_position: position,
    phase: null,
    reason: report.reason,
    message: report.message,
    progress: null,
    ...whatRuns(report),
    ended_at_ms: nowMs,
  }
}

function whatRuns(report: StatusReport): Pick<DeploymentRow, 'outcome' | 'running_digest'> {
  return { outcome: report.outcome, running_digest: report.running }
}
