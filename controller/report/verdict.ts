import { parseJsonWith } from '@edgefit/shared'
import type { Measurement, Objective } from '@edgefit/shared/model'
import { StatusReport } from '@edgefit/shared/protocol'
import type { DeploymentRow } from '../store/schema.ts'
import type { Evidence } from './evidence.ts'
import type { LatencyRow, Verdict } from './latency-report.ts'
import { mebibytes, ms, msBeside, relativeChange } from './words.ts'

export interface Judgement {
  readonly verdict: Verdict
  readonly explanation: string
}

/** The fastest measured trial that holds the accuracy floor, or failing that the fastest. */
export function nearestTrial({ candidates }: Evidence): LatencyRow['nearest'] {
  const accurate = candidates.filter(({ losses }) => !losses.some(({ reason }) => reason.startsWith('accuracy-')))
  const [fastest] = [...(accurate.length > 0 ? accurate : candidates)].sort((a, b) => a.p90BoundMs - b.p90BoundMs)
  if (fastest === undefined) return null
  const { label, p90BoundMs, accuracy } = fastest
  return { label, p90BoundMs, accuracy }
}

/** Where a deployment stands, from its status and what was measured. `met` and `missed` are said of the latest figures. */
export function judge(deployment: DeploymentRow, objective: Objective, evidence: Evidence): Judgement {
  const { status, reason, message } = deployment
  if (status === 'queued' || status === 'in_progress') {
    return { verdict: 'pending', explanation: progressWords(deployment, objective) }
  }
  if (status === 'cancelled' || status === 'removed') {
    return { verdict: 'cancelled', explanation: message ?? (reason === null ? status : reasonWords(reason)) }
  }
  if (status === 'succeeded') return judgeMeasured(objective, evidence)
  const verdict =
    reason === 'objective-infeasible' ? 'infeasible' : reason === 'accuracy-undecided' ? 'undecided' : 'failed'
  const nearest = verdict === 'infeasible' ? nearestWords(objective, evidence) : undefined
  if (nearest !== undefined) return { verdict, explanation: nearest }
  const cause = reason === null ? status.replace('_', ' ') : reasonWords(reason)
  return { verdict, explanation: message === null ? cause : `${cause}: ${message}` }
}

function judgeMeasured(objective: Objective, { winner, lastRebenchmark }: Evidence): Judgement {
  if (winner === undefined) {
    return { verdict: 'pending', explanation: 'activated; its measurements have not arrived yet' }
  }
  const { measurement } = lastRebenchmark ?? winner
  const budgetMs = objective.latencyP90Ms
  const { p90Bound } = measurement.latencyMs
  if (p90Bound > budgetMs) {
    const before = winner.measurement.latencyMs.p90Bound
    const history = lastRebenchmark === undefined ? '' : `; it was ${msBeside(before, budgetMs)} ms when chosen`
    const excess = (p90Bound / budgetMs - 1) * 100
    return {
      verdict: 'missed',
      explanation: `p90 up to ${msBeside(p90Bound, budgetMs)} ms, ${excess.toFixed(excess < 1 ? 1 : 0)} % over the budget of ${ms(budgetMs)} ms${history}`,
    }
  }
  const tooLarge = memoryExcess(objective, measurement)
  if (tooLarge !== undefined) return { verdict: 'missed', explanation: tooLarge }
  return {
    verdict: 'met',
    explanation: `p90 at most ${msBeside(p90Bound, budgetMs)} ms against a budget of ${ms(budgetMs)} ms`,
  }
}

function memoryExcess({ memoryBytes }: Objective, { peakRssBytes }: Measurement): string | undefined {
  if (memoryBytes === undefined || peakRssBytes <= memoryBytes) return undefined
  return `peak memory ${mebibytes(peakRssBytes)} MiB, ${relativeChange(peakRssBytes, memoryBytes)} against the limit of ${mebibytes(memoryBytes)} MiB`
}

function nearestWords(objective: Objective, evidence: Evidence): string | undefined {
  const nearest = nearestTrial(evidence)
  if (nearest === null) return undefined
  const { label, p90BoundMs } = nearest
  const tooSlow = p90BoundMs > objective.latencyP90Ms
  if (tooSlow) {
    return `nothing measured reaches it: nearest is ${label}, p90 up to ${msBeside(p90BoundMs, objective.latencyP90Ms)} ms against ${ms(objective.latencyP90Ms)} ms`
  }
  const detail = evidence.candidates.find((candidate) => candidate.label === label)?.losses[0]?.detail
  return `nothing measured reaches it: nearest is ${label}${detail === undefined ? '' : `, ${detail}`}`
}

const Progress = StatusReport.shape.progress

function progressWords({ status, phase, progress }: DeploymentRow, objective: Objective): string {
  if (status === 'queued') return 'queued'
  const words = [(phase ?? 'in progress').replace('_', ' ')]
  const known = progress === null ? null : parseJsonWith(Progress, progress, 'stored progress', 'INTERNAL')
  if (known?.bytesDone !== undefined && known.bytesTotal !== undefined && phase === 'downloading') {
    words.push(`${mebibytes(known.bytesDone)} of ${mebibytes(known.bytesTotal)} MiB`)
  }
  if (known?.trialsDone !== undefined) {
    words.push(`trial ${known.trialsDone}${known.trialsPlanned === undefined ? '' : ` of ${known.trialsPlanned}`}`)
  }
  if (known?.best) {
    const { label, p90BoundMs, accuracy } = known.best
    const also = accuracy === null ? '' : ` and accuracy ${accuracy.toFixed(3)}`
    words.push(`best so far ${label} with p90 ${msBeside(p90BoundMs, objective.latencyP90Ms)} ms${also}`)
  }
  return words.join(', ')
}

/** `disk-full` reads `disk full`. */
function reasonWords(reason: string): string {
  return reason.replaceAll('-', ' ')
}
