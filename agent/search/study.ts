import { EdgefitError } from '@edgefit/shared'
import {
  type Digest,
  type LossReason,
  type Measurement,
  type Objective,
  type Recipe,
  type RuntimeSettings,
  recipeDigest,
  type Trial,
} from '@edgefit/shared/model'
import { type Candidate, type Choice, choose } from './choose.ts'
import { brokenConstraints } from './judge.ts'
import type { Lab, ModelUnderTest } from './lab.ts'
import { pickRuntime } from './pick-runtime.ts'
import { stepError } from './step-error.ts'
import type { StudyStore } from './study-store.ts'

export interface StudyInput {
  readonly key: string
  readonly sourcePath: string
  readonly sourceDigest: Digest
  readonly sourceSizeBytes: number
  readonly objective: Objective
  readonly runtimeCandidates: readonly RuntimeSettings[]
  /** Recipes to try, best guess first, for the runtime settings that suit fp32 best. */
  readonly candidates: (runtime: RuntimeSettings) => readonly Recipe[]
  /** No new trial starts after this time, waiting for other agents of the host left out; one that runs is finished. */
  readonly budgetMs: number
}

export interface StudyPorts {
  readonly lab: Lab
  readonly store: StudyStore
  readonly monotonicNow: () => number
  /** Awaited: a trial is journalled before the next one starts. */
  readonly onEvent: (event: StudyEvent) => Promise<void> | void
}

export type StudyEvent =
  | { readonly kind: 'step'; readonly what: string }
  /** The choice is made; it is now measured on the evaluation split. */
  | { readonly kind: 'evaluating' }
  | { readonly kind: 'planned'; readonly trials: number }
  | { readonly kind: 'trial'; readonly trial: Trial; readonly done: number; readonly best: Candidate | undefined }

interface Winner {
  readonly trialId: number
  readonly recipe: Recipe
  readonly digest: Digest
  readonly sizeBytes: number
  readonly path: string
  readonly measurement: Measurement
  /** What the passes had to say: nodes left in float and why. */
  readonly notes: readonly string[]
}

export interface StudyResult {
  readonly verdict: 'met' | 'infeasible'
  /** fp32 on the evaluation split. */
  readonly baseline: Measurement
  readonly winner: Winner | null
  readonly trials: readonly Trial[]
  readonly reasons: readonly string[]
  /** The objective failed only for want of samples. */
  readonly undecided: boolean
}

/**
 * Fits one model to this box: fp32 first, then each recipe, each measured on the tuning split; the choice is then
 * measured once on the evaluation split, where it has to hold again.
 *
 * Resumable: trials that `store` knows are not repeated. An exception means that nothing could be measured at all
 * (`TRIAL_FAILED`, `MODEL_UNSUPPORTED`) or that `signal` was aborted.
 */
export async function runStudy(input: StudyInput, ports: StudyPorts, signal: AbortSignal): Promise<StudyResult> {
  const spentMs = () => ports.monotonicNow() - ports.lab.waitedMs()
  const startedMs = spentMs()
  const study = new Study(input, ports, await ports.store.finished(input.key), signal)
  const baseline = await study.measureBaseline()
  const recipes = input.candidates(baseline.runtime)
  await ports.onEvent({ kind: 'planned', trials: recipes.length + 1 })

  const notes: string[] = []
  for (const [index, recipe] of recipes.entries()) {
    if (input.objective.minimize === 'none' && study.choice().winner !== undefined) break
    if (spentMs() - startedMs > input.budgetMs) {
      notes.push(`the search budget of ${input.budgetMs / 1000} s ended after ${index} of ${recipes.length} recipes`)
      break
    }
    await study.tryRecipe(index + 1, recipe)
  }
  await study.tuneLeader(recipes.length + 1)
  return study.conclude(notes)
}

class Study {
  readonly #input: StudyInput
  readonly #ports: StudyPorts
  readonly #finished: ReadonlyMap<Digest, Trial>
  readonly #signal: AbortSignal
  readonly #trials = new Map<number, Trial>()

  constructor(input: StudyInput, ports: StudyPorts, finished: ReadonlyMap<Digest, Trial>, signal: AbortSignal) {
    this.#input = input
    this.#ports = ports
    this.#finished = finished
    this.#signal = signal
  }

  async measureBaseline(): Promise<Recipe> {
    const known = [...this.#finished.values()].find((trial) => trial.id === 0 && trial.outcome.kind === 'measured')
    if (known !== undefined) {
      await this.#add(known)
      return known.recipe
    }
    const runtime = await this.#tune(this.#input.sourcePath)
    const recipe: Recipe = { schemaVersion: 1, label: 'fp32', passes: [], runtime }
    await this.tryRecipe(0, recipe)
    const outcome = this.#trials.get(0)?.outcome
    if (outcome?.kind === 'failed') throw stepError('fp32 could not be measured', outcome)
    return recipe
  }

  async tryRecipe(id: number, recipe: Recipe): Promise<void> {
    const digest = recipeDigest(recipe)
    const known = this.#finished.get(digest)
    if (known !== undefined) {
      await this.#add({ ...known, id })
      return
    }
    await this.#ports.onEvent({ kind: 'step', what: `trying ${labelOf(recipe)}` })
    const startedMs = this.#ports.monotonicNow()
    const outcome = await this.#outcomeOf(recipe)
    const durationMs = this.#ports.monotonicNow() - startedMs
    // With a full disk no recipe can be judged: the study ends, and goes on from here when there is room.
    if (outcome.kind === 'failed' && outcome.reason === 'no-space') {
      throw stepError(`${labelOf(recipe)} could not be tried`, outcome)
    }
    const trial: Trial = { id, recipe, recipeDigest: digest, outcome, losses: [], durationMs }
    if (isLasting(trial)) await this.#ports.store.save(this.#input.key, trial)
    await this.#add(trial)
  }

  /** Quantized models are often too small for the threads that suit fp32: the leader's own best settings are a trial too. */
  async tuneLeader(id: number): Promise<void> {
    const { winner } = this.choice()
    const trial = winner && this.#trials.get(winner.trialId)
    if (trial === undefined || trial.id === 0 || this.#input.runtimeCandidates.length < 2) return
    const built = await this.#ports.lab.build(trial.recipe, this.#signal)
    if (built.kind === 'failed') return
    const runtime = await this.#tune(built.path)
    const recipe = { ...trial.recipe, label: `${labelOf(trial.recipe)}, own threads`, runtime }
    if (recipeDigest(recipe) !== trial.recipeDigest) await this.tryRecipe(id, recipe)
  }

  choice(): Choice {
    const baseline = this.#candidate(0)
    if (baseline === undefined) throw new Error('a study has no choice before its baseline')
    const others = [...this.#trials.keys()].filter((id) => id > 0).flatMap((id) => this.#candidate(id) ?? [])
    return choose(this.#input.objective, baseline, others)
  }

  async conclude(notes: readonly string[]): Promise<StudyResult> {
    const choice = this.choice()
    const trials = [...this.#trials.values()].map((trial) => ({
      ...trial,
      losses: [...(choice.losses.get(trial.id) ?? [])],
    }))
    await this.#ports.onEvent({ kind: 'evaluating' })
    await this.#ports.onEvent({ kind: 'step', what: 'measuring fp32 on the evaluation split' })
    const fp32 = this.#fp32()
    const baseline = await this.#evaluate(fp32, null)
    const base = { baseline, undecided: choice.undecided }
    const reasons = [...choice.reasons, ...notes]
    if (choice.winner === undefined) return { ...base, verdict: 'infeasible', winner: null, trials, reasons }

    const winner =
      choice.winner.trialId === 0 ? this.#asWinner(baseline) : await this.#evaluateWinner(choice.winner, fp32, baseline)
    const baselineCandidate = { trialId: 0, label: 'fp32', measurement: baseline }
    const check = choose(
      this.#input.objective,
      baselineCandidate,
      winner.trialId === 0 ? [] : [{ ...choice.winner, measurement: winner.measurement }],
    )
    const lostThere = check.losses.get(winner.trialId)?.filter(({ reason }) => reason !== 'not-smallest') ?? []
    if (lostThere.length === 0) return { ...base, verdict: 'met', winner, trials, reasons }

    const losses = lostThere.map(({ reason, detail }) => ({ reason, detail: `on the evaluation split: ${detail}` }))
    const revised = trials.map((trial) => (trial.id === winner.trialId ? { ...trial, losses } : trial))
    const why = `${choice.winner.label} did not hold on the evaluation split: ${lostThere.map(({ detail }) => detail).join('; ')}`
    if (winner.trialId !== 0 && !check.losses.get(0)?.some(isConstraint)) {
      return {
        ...base,
        verdict: 'met',
        winner: this.#asWinner(baseline),
        trials: revised,
        reasons: [why, 'fp32 satisfies the objective'],
      }
    }
    const undecided = lostThere.every(({ reason }) => reason === 'accuracy-undecided')
    return { baseline, undecided, verdict: 'infeasible', winner: null, trials: revised, reasons: [why, ...notes] }
  }

  async #evaluateWinner(chosen: Candidate, fp32: ModelUnderTest, baseline: Measurement): Promise<Winner> {
    const trial = this.#trials.get(chosen.trialId)
    if (trial?.outcome.kind !== 'measured') throw new Error(`trial ${chosen.trialId} was chosen but not measured`)
    const built = await this.#ports.lab.build(trial.recipe, this.#signal)
    if (built.kind === 'failed') throw stepError('the chosen variant could not be built again', built)
    if (built.digest !== trial.outcome.variant.digest) {
      throw new EdgefitError('the chosen recipe gave other bytes when it was built again', { code: 'TRIAL_FAILED' })
    }
    await this.#ports.onEvent({ kind: 'step', what: `measuring ${chosen.label} on the evaluation split` })
    const variant = { path: built.path, runtime: trial.recipe.runtime }
    let measurement = await this.#evaluate(variant, fp32)
    if (isOnlyLatency(brokenConstraints(this.#input.objective, measurement, baseline))) {
      // It was within budget on tuning. Latency has no split, so a third measurement settles which of the two was a disturbance.
      await this.#ports.onEvent({
        kind: 'step',
        what: `measuring ${chosen.label} again: its latency contradicts the first`,
      })
      measurement = await this.#evaluate(variant, fp32)
    }
    const { digest, sizeBytes, path, resolved, notes } = built
    return { trialId: trial.id, recipe: resolved, digest, sizeBytes, path, measurement, notes }
  }

  async #evaluate(model: ModelUnderTest, fp32: ModelUnderTest | null): Promise<Measurement> {
    const measured = await this.#ports.lab.measure(model, fp32, 'evaluation', this.#signal)
    if (measured.kind === 'failed') throw stepError('the measurement on the evaluation split failed', measured)
    return measured.measurement
  }

  async #outcomeOf(recipe: Recipe): Promise<Trial['outcome']> {
    const { lab } = this.#ports
    const { sourcePath, sourceDigest, sourceSizeBytes } = this.#input
    if (recipe.passes.length === 0) {
      const measured = await lab.measure({ path: sourcePath, runtime: recipe.runtime }, null, 'tuning', this.#signal)
      return measured.kind === 'failed'
        ? measured
        : { ...measured, variant: { digest: sourceDigest, sizeBytes: sourceSizeBytes } }
    }
    const built = await lab.build(recipe, this.#signal)
    if (built.kind === 'failed') return built
    const variant = { path: built.path, runtime: recipe.runtime }
    const measured = await lab.measure(variant, this.#fp32(), 'tuning', this.#signal)
    return measured.kind === 'failed'
      ? measured
      : { ...measured, variant: { digest: built.digest, sizeBytes: built.sizeBytes } }
  }

  async #tune(path: string): Promise<RuntimeSettings> {
    const [only, ...others] = this.#input.runtimeCandidates
    if (only === undefined) throw new RangeError('a study needs at least one candidate for the runtime settings')
    if (others.length === 0) return only
    await this.#ports.onEvent({ kind: 'step', what: 'timing runtime settings' })
    const tuned = await this.#ports.lab.tuneRuntime(path, [only, ...others], this.#signal)
    if (tuned.kind === 'failed') throw stepError('no runtime settings could be timed', tuned)
    return pickRuntime(tuned.timings) ?? only
  }

  #fp32(): ModelUnderTest {
    const trial = this.#trials.get(0)
    if (trial === undefined) throw new Error('the baseline is measured first')
    return { path: this.#input.sourcePath, runtime: trial.recipe.runtime }
  }

  #asWinner(measurement: Measurement): Winner {
    const recipe = this.#trials.get(0)?.recipe
    if (recipe === undefined) throw new Error('the baseline is measured first')
    const { sourceDigest: digest, sourceSizeBytes: sizeBytes, sourcePath: path } = this.#input
    return { trialId: 0, recipe, digest, sizeBytes, path, measurement, notes: [] }
  }

  #candidate(trialId: number): Candidate | undefined {
    const trial = this.#trials.get(trialId)
    if (trial?.outcome.kind !== 'measured') return undefined
    return { trialId, label: labelOf(trial.recipe), measurement: trial.outcome.measurement }
  }

  async #add(trial: Trial): Promise<void> {
    this.#trials.set(trial.id, trial)
    const best = this.#trials.get(0)?.outcome.kind === 'measured' ? this.choice().winner : undefined
    await this.#ports.onEvent({ kind: 'trial', trial, done: this.#trials.size, best })
  }
}

/** A failure of fp32 is the box's, not the recipe's: it may be over the next time. */
function isLasting({ id, outcome }: Trial): boolean {
  return outcome.kind === 'measured' || (id !== 0 && outcome.reason !== 'interrupted')
}

function isOnlyLatency(losses: readonly LossReason[]): boolean {
  return losses.length > 0 && losses.every(({ reason }) => reason === 'too-slow' || reason === 'slower-than-baseline')
}

function isConstraint({ reason }: LossReason): boolean {
  return reason !== 'not-smallest'
}

function labelOf(recipe: Recipe): string {
  return recipe.label ?? (recipe.passes.map(({ pass }) => pass).join(' + ') || 'fp32')
}
