import type { AccuracyFloor, LossReason, Measurement, Objective } from '@edgefit/shared/model'
import { absoluteFloor, type FloorDecision, pairedRelativeFloor } from '@edgefit/shared/stats'

/**
 * Every constraint of `objective` that `variant` breaks; empty means feasible.
 *
 * `baseline` is fp32 on the same box and split. It passes a relative floor by identity, and it is never "slower than
 * the baseline".
 */
export function brokenConstraints(objective: Objective, variant: Measurement, baseline: Measurement): LossReason[] {
  const losses: LossReason[] = []
  const { p90Bound } = variant.latencyMs
  if (p90Bound > objective.latencyP90Ms) {
    losses.push({
      reason: 'too-slow',
      detail: `p90 is at most ${ms(p90Bound)} with 99 % confidence, the budget is ${ms(objective.latencyP90Ms)}`,
    })
  }
  if (objective.accuracy !== undefined && variant !== baseline) {
    const loss = accuracyLoss(objective.accuracy, variant, baseline)
    if (loss !== undefined) losses.push(loss)
  } else if (objective.accuracy?.kind === 'absolute') {
    const loss = absoluteLoss(objective.accuracy.value, variant)
    if (loss !== undefined) losses.push(loss)
  }
  if (objective.memoryBytes !== undefined && variant.peakRssBytes > objective.memoryBytes) {
    losses.push({
      reason: 'too-much-memory',
      detail: `peak RSS ${mib(variant.peakRssBytes)}, the limit is ${mib(objective.memoryBytes)}`,
    })
  }
  if (objective.sizeBytes !== undefined && variant.sizeBytes > objective.sizeBytes) {
    losses.push({
      reason: 'too-large',
      detail: `file of ${mib(variant.sizeBytes)}, the limit is ${mib(objective.sizeBytes)}`,
    })
  }
  const slower = slowerThanBaseline(objective, variant)
  if (slower !== undefined) losses.push(slower)
  return losses
}

/**
 * A lossy variant has to earn its place: where latency is minimized it must be faster beyond the noise of the
 * interleaved runs, and whatever is minimized it must not be slower.
 */
function slowerThanBaseline(objective: Objective, variant: Measurement): LossReason | undefined {
  const ratio = variant.againstBaseline?.latencyRatio
  if (ratio === undefined) return undefined
  const limit = objective.minimize === 'latency' ? ratio.high : ratio.ratio
  if (limit < 1) return undefined
  const times = `${ratio.ratio.toFixed(3)} times fp32's latency (95 % interval ${ratio.low.toFixed(3)} to ${ratio.high.toFixed(3)})`
  return {
    reason: 'slower-than-baseline',
    detail: ratio.low > 1 ? times : `${times}: not faster beyond the noise`,
  }
}

function accuracyLoss(floor: AccuracyFloor, variant: Measurement, baseline: Measurement): LossReason | undefined {
  return floor.kind === 'absolute' ? absoluteLoss(floor.value, variant) : relativeLoss(floor.value, variant, baseline)
}

function relativeLoss(value: number, variant: Measurement, baseline: Measurement): LossReason | undefined {
  const against = variant.againstBaseline
  const goal = `${value} times fp32's`
  if (against?.paired) return lossOf(pairedRelativeFloor(against.paired, value), goal, variant)
  if (against?.difference && baseline.accuracy !== null) {
    const { value: difference, low } = against.difference
    const slack = (1 - value) * baseline.accuracy.value
    if (low >= -slack) return undefined
    const detail = `${figures(variant)}, fp32 ${baseline.accuracy.value.toFixed(4)}: the difference is ${difference.toFixed(4)}, at worst ${low.toFixed(4)}, the floor of ${goal} allows -${slack.toFixed(4)}`
    return { reason: difference < -slack ? 'accuracy-below-floor' : 'accuracy-undecided', detail }
  }
  return { reason: 'accuracy-undecided', detail: 'the accuracy was not measured against fp32 on the same samples' }
}

function absoluteLoss(value: number, variant: Measurement): LossReason | undefined {
  const { accuracy } = variant
  if (accuracy === null) return { reason: 'accuracy-undecided', detail: 'the accuracy was not measured' }
  if (accuracy.metric === 'auc') {
    if (accuracy.low >= value) return undefined
    const detail = `${figures(variant)}, the floor is ${value}`
    return { reason: accuracy.high < value ? 'accuracy-below-floor' : 'accuracy-undecided', detail }
  }
  const right = Math.round(accuracy.value * accuracy.count)
  return lossOf(absoluteFloor(right, accuracy.count, value), String(value), variant)
}

function lossOf(decision: FloorDecision, goal: string, variant: Measurement): LossReason | undefined {
  if (decision.decision === 'holds') return undefined
  const found = `${figures(variant)}; against the floor of ${goal}: ${decision.estimate.toFixed(4)}, 95 % bounds ${decision.lower.toFixed(4)} to ${decision.upper.toFixed(4)}`
  if (decision.decision === 'violated') return { reason: 'accuracy-below-floor', detail: found }
  const needed =
    decision.samplesNeeded === undefined
      ? 'no number of samples would decide at this rate'
      : `about ${decision.samplesNeeded} samples are needed to decide at this rate, ${variant.accuracy?.count ?? 0} were there`
  return { reason: 'accuracy-undecided', detail: `${found}; ${needed}` }
}

function figures({ accuracy }: Measurement): string {
  return accuracy === null ? 'no accuracy' : `${accuracy.metric} ${accuracy.value.toFixed(4)} of ${accuracy.count}`
}

function ms(value: number): string {
  return `${value.toPrecision(3)} ms`
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
