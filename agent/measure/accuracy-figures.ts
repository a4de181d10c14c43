import { EdgefitError } from '@edgefit/shared'
import type { Accuracy, AccuracyMetric, Task } from '@edgefit/shared/model'
import {
  addSqnr,
  aucInterval,
  EMPTY_SQNR,
  pairedAucDifference,
  pairOutcomes,
  sqnrDb,
  wilsonInterval,
} from '@edgefit/shared/stats'
import type { JobValue } from './jobs.ts'
import { relativeError } from './scoring.ts'
import type { Verdicts } from './verdicts.ts'

export interface FigureInput {
  readonly task: Task
  /** Class of each sample, 0 or 1: for the AUC alone. */
  readonly labels: Float64Array | null
  readonly variant: Verdicts
  /** The same object as `variant` when that is fp32 itself. */
  readonly baseline: Verdicts
}

/** Accuracy of the variant, and against fp32 on the same samples. */
export function accuracyFigures(input: FigureInput): JobValue<'measure-accuracy'> {
  const { task, variant, baseline } = input
  const isBaseline = variant === baseline
  const noise = isBaseline ? null : signalToNoiseDb(variant, baseline)
  if (task.kind === 'binary-score' && task.threshold === undefined) {
    return { ...aucFigures(input), paired: null, sqnrDb: noise }
  }
  const { metric, variantRight, baselineRight } = outcomes(input)
  return {
    accuracy: proportion(metric, variantRight),
    paired: isBaseline ? null : pairOutcomes(variantRight, baselineRight),
    difference: null,
    sqnrDb: noise,
  }
}

/** Right or wrong per sample. Where nothing but fp32 says what is right, fp32 is always right. */
function outcomes({ task, variant, baseline }: FigureInput) {
  const metric = metricOf(task, variant.right !== null)
  if (variant.right !== null && baseline.right !== null) {
    return { metric, variantRight: variant.right, baselineRight: baseline.right }
  }
  const baselineRight = new Uint8Array(baseline.count).fill(1)
  return { metric, variantRight: agreement(task, variant, baseline), baselineRight }
}

function metricOf(task: Task, judged: boolean): AccuracyMetric {
  switch (task.kind) {
    case 'classification':
      return judged ? 'top1' : 'agreement'
    case 'binary-score':
      return judged ? 'accuracy' : 'agreement'
    case 'regression':
      return 'within-tolerance'
    case 'custom':
      return 'custom'
  }
}

function agreement(task: Task, variant: Verdicts, baseline: Verdicts): Uint8Array {
  if (task.kind === 'regression') return withinTolerance(task.tolerance, variant, baseline)
  const threshold = task.kind === 'binary-score' ? task.threshold : undefined
  // NaN agrees with nothing, not even with itself.
  const decision = (value: number) =>
    threshold === undefined || Number.isNaN(value) ? value : Number(value >= threshold)
  return Uint8Array.from(baseline.values, (value, index) =>
    decision(variant.values[index] ?? Number.NaN) === decision(value) ? 1 : 0,
  )
}

function withinTolerance(tolerance: number, variant: Verdicts, baseline: Verdicts): Uint8Array {
  const [given] = variant.kept
  const [expected] = baseline.kept
  if (given === undefined || expected === undefined || given.rowLength !== expected.rowLength) {
    throw new EdgefitError(
      'a regression without labels is judged by the first output, which must be float and of the same, moderate size ' +
        'for every sample; add labels to the dataset',
      { code: 'DATASET_MISMATCH' },
    )
  }
  const { rowLength } = expected
  return Uint8Array.from({ length: baseline.count }, (_, index) => {
    const row = (data: Float32Array) => data.subarray(index * rowLength, (index + 1) * rowLength)
    return relativeError(row(given.data), row(expected.data)) <= tolerance ? 1 : 0
  })
}

function proportion(metric: AccuracyMetric, right: Uint8Array): Accuracy {
  const count = right.length
  const correct = right.reduce((sum, one) => sum + one, 0)
  const { lower, upper } = wilsonInterval(correct, count)
  return { metric, value: correct / count, low: lower, high: upper, count }
}

function aucFigures({ labels, variant, baseline }: FigureInput) {
  const positives = labels?.reduce((sum, label) => sum + (label > 0.5 ? 1 : 0), 0) ?? 0
  if (labels === null || positives < 2 || labels.length - positives < 2) {
    throw new EdgefitError(
      'the AUC needs labels with at least 2 samples of each class in every part of the split; add labels, or state a ' +
        'threshold to compare decisions with those of fp32',
      { code: 'DATASET_MISMATCH' },
    )
  }
  if (!variant.values.every(Number.isFinite)) {
    throw new EdgefitError('the model gives scores that are not finite', { code: 'MODEL_UNSUPPORTED' })
  }
  const { auc, lower, upper } = aucInterval(variant.values, labels)
  const accuracy: Accuracy = { metric: 'auc', value: auc, low: lower, high: upper, count: labels.length }
  if (variant === baseline) return { accuracy, difference: null }
  const paired = pairedAucDifference(variant.values, baseline.values, labels)
  return { accuracy, difference: { value: paired.difference, low: paired.lower } }
}

/** Stands for outputs that are equal to the last bit, which have no ratio. */
const EQUAL_DB = 200

/** The worst of the outputs, each over all samples kept; null where none could be kept or compared. */
function signalToNoiseDb(variant: Verdicts, baseline: Verdicts): number | null {
  const ratios = baseline.kept.map((expected) => {
    const given = variant.kept.find(({ name }) => name === expected.name)
    if (given?.data.length !== expected.data.length) return Number.NaN
    return sqnrDb(addSqnr(EMPTY_SQNR, expected.data, given.data))
  })
  const worst = Math.min(...ratios)
  return ratios.length === 0 || Number.isNaN(worst) ? null : Math.max(-EQUAL_DB, Math.min(EQUAL_DB, worst))
}
