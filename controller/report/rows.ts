import type { LatencyRatio, Measurement } from '@edgefit/shared/model'
import { rowAccuracy } from './accuracy.ts'
import type { Evidence } from './evidence.ts'
import { Figures, type LatencyRow } from './latency-report.ts'
import type { Slot } from './slots.ts'
import { judge, nearestTrial } from './verdict.ts'
import { warningsOf } from './warnings.ts'

export interface RowFacts {
  readonly slot: Slot
  readonly evidence: Evidence | undefined
  readonly serving: LatencyRow['serving']
  readonly nowMs: number
}

/** One line of the report, its detail left out. */
export function reportRow({ slot: { device, deployment }, evidence, serving, nowMs }: RowFacts): LatencyRow {
  const empty = {
    device,
    slot: null,
    model: null,
    deployment: null,
    objective: null,
    verdict: 'unassigned',
    explanation: 'nothing was deployed to it',
    variant: null,
    measured: null,
    accuracy: null,
    baseline: null,
    speedUp: null,
    nearest: null,
    rebenchmark: null,
    serving: null,
    detail: null,
  } as const
  const warnings = warningsOf({ device, evidence, serving, outcome: deployment?.row.outcome, nowMs })
  if (deployment === undefined || evidence === undefined) return { ...empty, warnings }
  const { row, model, objective } = deployment
  const { winner, baseline, lastRebenchmark } = evidence
  const latest = (lastRebenchmark ?? winner)?.measurement
  return {
    ...empty,
    ...judge(row, objective, evidence),
    slot: row.slot,
    model,
    objective,
    deployment: {
      id: row.id,
      rollout: row.rollout_id,
      attempt: row.attempt,
      status: row.status,
      phase: row.phase,
      reason: row.reason,
      message: row.message,
      outcome: row.outcome,
      updatedAtMs: row.ended_at_ms ?? row.last_report_at_ms ?? row.created_at_ms,
    },
    variant:
      row.winner_digest === null ? null : { digest: row.winner_digest, label: evidence.winnerLabel ?? 'unlabelled' },
    measured: latest ? Figures.parse(latest) : null,
    accuracy: winner ? rowAccuracy(winner.measurement, baseline?.measurement, objective) : null,
    baseline: baseline ? Figures.parse(baseline.measurement) : null,
    speedUp: speedUpOf(winner?.measurement),
    nearest: row.winner_digest === null ? nearestTrial(evidence) : null,
    rebenchmark: rebenchmarkOf(evidence),
    serving,
    warnings,
  }
}

/** fp32's latency over the variant's. Null for fp32 itself. */
export function speedUpOf(measurement: Measurement | undefined): LatencyRatio | null {
  const ratio = measurement?.againstBaseline?.latencyRatio
  return ratio === undefined ? null : { ratio: 1 / ratio.ratio, low: 1 / ratio.high, high: 1 / ratio.low }
}

function rebenchmarkOf({ winner, lastRebenchmark, rebenchmarks }: Evidence): LatencyRow['rebenchmark'] {
  if (winner === undefined || lastRebenchmark === undefined || lastRebenchmark.change === null) return null
  return {
    count: rebenchmarks,
    atMs: lastRebenchmark.measurement.measuredAtMs,
    p90BoundBeforeMs: winner.measurement.latencyMs.p90Bound,
    change: lastRebenchmark.change,
    drifted: lastRebenchmark.drifted,
  }
}
