import type { LossReason, Measurement, Trial } from '@edgefit/shared/model'
import { brokenConstraints } from './judge.ts'
import type { ModelUnderTest } from './lab.ts'
import { stepError } from './step-error.ts'
import type { StudyInput, StudyPorts, StudyResult, Winner } from './study-types.ts'
import { labelOf, type TrialBook } from './trial-book.ts'

/**
 * Measures fp32 and the choice on the evaluation split, where the choice has to hold again.
 *
 * One that cannot be measured there, because its process crashed or ran out of memory or time, has lost, and the next best
 * takes its place: nothing was seen of it that could bias. One that does not hold has lost too, but then only fp32 may take
 * its place: to go on choosing by this split would overfit to it.
 */
export async function conclude(
  book: TrialBook,
  input: StudyInput,
  ports: StudyPorts,
  notes: readonly string[],
  signal: AbortSignal,
): Promise<StudyResult> {
  await ports.onEvent({ kind: 'evaluating' })
  await ports.onEvent({ kind: 'step', what: 'measuring fp32 on the evaluation split' })
  const fp32 = book.fp32Model()
  const measured = await ports.lab.measure(fp32, null, 'evaluation', signal)
  if (measured.kind === 'failed') throw stepError('fp32 could not be measured on the evaluation split', measured)
  const baseline = measured.measurement
  const evaluator = { input, ports, fp32, baseline, signal }

  const lost = new Map<number, readonly LossReason[]>()
  const whys: string[] = []
  let choice = book.choice()
  for (; choice.winner !== undefined; choice = book.choice(new Set(lost.keys()))) {
    const trial = book.trial(choice.winner.trialId)
    const found = trial.id === 0 ? fp32Winner(trial, input, baseline) : await evaluated(trial, book, evaluator)
    if (found.kind === 'winner') {
      const broken = brokenConstraints(input.objective, found.winner.measurement, baseline)
      if (broken.length === 0) return result('met', found.winner, choice.reasons)
      lost.set(
        trial.id,
        broken.map(({ reason, detail }) => ({ reason, detail: `on the evaluation split: ${detail}` })),
      )
      const details = broken.map(({ detail }) => detail).join('; ')
      whys.push(`${labelOf(trial.recipe)} did not hold on the evaluation split: ${details}`)
      const fallback = fp32Winner(book.trial(0), input, baseline).winner
      if (trial.id !== 0 && brokenConstraints(input.objective, baseline, baseline).length === 0) {
        return result('met', fallback, ['fp32 satisfies the objective'])
      }
      const undecided = broken.every(({ reason }) => reason === 'accuracy-undecided')
      return { ...result('infeasible', null, []), undecided }
    }
    lost.set(trial.id, [{ reason: 'failed-on-evaluation', detail: found.why }])
    whys.push(`${labelOf(trial.recipe)} lost on the evaluation split: ${found.why}`)
  }
  return result('infeasible', null, choice.reasons)

  function result(verdict: StudyResult['verdict'], winner: Winner | null, reasons: readonly string[]): StudyResult {
    const trials = book.trials.map((trial) => ({
      ...trial,
      losses: trial.id === winner?.trialId ? [] : [...(lost.get(trial.id) ?? choice.losses.get(trial.id) ?? [])],
    }))
    return { verdict, baseline, winner, trials, reasons: [...whys, ...reasons, ...notes], undecided: choice.undecided }
  }
}

interface Evaluator {
  readonly input: StudyInput
  readonly ports: StudyPorts
  readonly fp32: ModelUnderTest
  readonly baseline: Measurement
  readonly signal: AbortSignal
}

type Evaluated =
  | { readonly kind: 'winner'; readonly winner: Winner }
  | { readonly kind: 'failed'; readonly why: string }

async function evaluated(
  trial: Trial,
  book: TrialBook,
  { input, ports, fp32, baseline, signal }: Evaluator,
): Promise<Evaluated> {
  if (trial.outcome.kind !== 'measured') throw new Error(`trial ${trial.id} was chosen but not measured`)
  const label = labelOf(trial.recipe)
  const built = await ports.lab.build(await book.resolvedOf(trial), signal)
  if (built.kind === 'failed') {
    if (built.reason === 'no-space') throw stepError(`${label} could not be built again`, built)
    return { kind: 'failed', why: `it could not be built again, ${built.reason}: ${built.message}` }
  }
  if (built.digest !== trial.outcome.variant.digest) {
    return { kind: 'failed', why: 'the recipe gave other bytes when it was built again' }
  }
  await ports.onEvent({ kind: 'step', what: `measuring ${label} on the evaluation split` })
  const variant = { path: built.path, runtime: trial.recipe.runtime }
  let measured = await ports.lab.measure(variant, fp32, 'evaluation', signal)
  if (
    measured.kind === 'measured' &&
    isOnlyLatency(brokenConstraints(input.objective, measured.measurement, baseline))
  ) {
    // It was within budget on tuning. Latency has no split, so a third measurement settles which of the two was a disturbance.
    await ports.onEvent({ kind: 'step', what: `measuring ${label} again: its latency contradicts the first` })
    measured = await ports.lab.measure(variant, fp32, 'evaluation', signal)
  }
  if (measured.kind === 'failed') {
    if (measured.reason === 'no-space') throw stepError(`${label} could not be measured`, measured)
    return { kind: 'failed', why: `its measurement failed, ${measured.reason}: ${measured.message}` }
  }
  const { digest, sizeBytes, path, resolved, passes } = built
  const { measurement } = measured
  const { id: trialId, recipe: unresolved } = trial
  return {
    kind: 'winner',
    winner: { trialId, recipe: resolved, unresolved, digest, sizeBytes, path, measurement, passes },
  }
}

function fp32Winner({ recipe }: Trial, input: StudyInput, measurement: Measurement) {
  const { sourceDigest: digest, sourceSizeBytes: sizeBytes, sourcePath: path } = input
  const winner: Winner = {
    trialId: 0,
    recipe,
    unresolved: recipe,
    digest,
    sizeBytes,
    path,
    measurement,
    passes: [],
  }
  return { kind: 'winner', winner } as const
}

function isOnlyLatency(losses: readonly LossReason[]): boolean {
  return losses.length > 0 && losses.every(({ reason }) => reason === 'too-slow' || reason === 'slower-than-baseline')
}
