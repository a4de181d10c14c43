import type { LossReason, Measurement, Objective } from '@edgefit/shared/model'
import { brokenConstraints } from './judge.ts'

export interface Candidate {
  readonly trialId: number
  readonly label: string
  readonly measurement: Measurement
}

export interface Choice {
  /** Undefined where nothing satisfies the objective. */
  readonly winner: Candidate | undefined
  /** Why each of the others lost, by trial id. */
  readonly losses: ReadonlyMap<number, readonly LossReason[]>
  /** In words: what bound, and the best reachable points of an infeasible objective. */
  readonly reasons: readonly string[]
  /** Infeasible only for want of samples. */
  readonly undecided: boolean
}

/**
 * Picks the variant that satisfies every constraint and is best by `objective.minimize`. Pure: the same measurements
 * give the same choice.
 *
 * Latencies are compared by their ratio to fp32 in interleaved runs, because two solo figures taken minutes apart
 * differ by what else the box was doing.
 */
export function choose(objective: Objective, baseline: Candidate, variants: readonly Candidate[]): Choice {
  const broken = new Map<number, readonly LossReason[]>()
  const feasible: Candidate[] = []
  for (const candidate of [baseline, ...variants]) {
    const losses = brokenConstraints(objective, candidate.measurement, baseline.measurement)
    if (losses.length === 0) feasible.push(candidate)
    else broken.set(candidate.trialId, losses)
  }
  const [winner, ...others] = rank(objective, feasible)
  if (winner === undefined) {
    return {
      winner,
      losses: broken,
      reasons: explainInfeasible(objective, [baseline, ...variants], broken),
      undecided: [...broken.values()].some((losses) => losses.every(({ reason }) => reason === 'accuracy-undecided')),
    }
  }
  for (const other of others) {
    broken.set(other.trialId, [
      {
        reason: 'not-smallest',
        detail: `feasible, but ${winner.label} is better by ${objective.minimize === 'none' ? 'order of trial' : objective.minimize} (${figure(objective, other)} against ${figure(objective, winner)})`,
      },
    ])
  }
  return { winner, losses: broken, reasons: [`${winner.label} satisfies the objective`], undecided: false }
}

function rank(objective: Objective, candidates: readonly Candidate[]): Candidate[] {
  if (objective.minimize === 'none') return [...candidates]
  const key = (candidate: Candidate) => sortKey(objective, candidate.measurement)
  return [...candidates].sort((a, b) => key(a) - key(b) || a.trialId - b.trialId)
}

function sortKey({ minimize }: Objective, measurement: Measurement): number {
  if (minimize === 'size') return measurement.sizeBytes
  if (minimize === 'memory') return measurement.peakRssBytes
  return measurement.againstBaseline?.latencyRatio.ratio ?? 1
}

function figure({ minimize }: Objective, { measurement }: Candidate): string {
  if (minimize === 'size') return `${(measurement.sizeBytes / 2 ** 20).toFixed(2)} MiB`
  if (minimize === 'memory') return `${(measurement.peakRssBytes / 2 ** 20).toFixed(1)} MiB`
  return `${(measurement.againstBaseline?.latencyRatio.ratio ?? 1).toFixed(3)} times fp32's latency`
}

function explainInfeasible(
  objective: Objective,
  candidates: readonly Candidate[],
  broken: ReadonlyMap<number, readonly LossReason[]>,
): string[] {
  const reasons: string[] = []
  const accurate = candidates.filter(
    ({ trialId }) => !broken.get(trialId)?.some(({ reason }) => reason.startsWith('accuracy-')),
  )
  const fastest = minimumBy(accurate, ({ measurement }) => measurement.latencyMs.p90Bound)
  if (fastest !== undefined) {
    reasons.push(
      `fastest that holds the accuracy floor: ${fastest.label}, p90 at most ${fastest.measurement.latencyMs.p90Bound.toPrecision(3)} ms against a budget of ${objective.latencyP90Ms} ms`,
    )
  }
  const quick = candidates.filter(({ measurement }) => measurement.latencyMs.p90Bound <= objective.latencyP90Ms)
  const best = minimumBy(quick, ({ measurement }) => -(measurement.accuracy?.value ?? Number.NEGATIVE_INFINITY))
  if (best === undefined) {
    const nearest = minimumBy(candidates, ({ measurement }) => measurement.latencyMs.p90Bound)
    if (nearest !== undefined) {
      reasons.push(
        `nothing tried is within the latency budget of ${objective.latencyP90Ms} ms: the nearest is ${nearest.label}, p90 at most ${nearest.measurement.latencyMs.p90Bound.toPrecision(3)} ms`,
      )
    }
  } else {
    reasons.push(
      `most accurate within the latency budget: ${best.label}, ${(broken.get(best.trialId) ?? []).map(({ detail }) => detail).join('; ')}`,
    )
  }
  return reasons
}

function minimumBy(candidates: readonly Candidate[], key: (candidate: Candidate) => number): Candidate | undefined {
  return candidates.reduce<Candidate | undefined>(
    (best, candidate) => (best === undefined || key(candidate) < key(best) ? candidate : best),
    undefined,
  )
}
