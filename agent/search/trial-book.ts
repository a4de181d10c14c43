import { isEdgefitError } from '@edgefit/shared'
import {
  type Digest,
  type LossReason,
  type Measurement,
  type Recipe,
  type RuntimeSettings,
  recipeDigest,
  type Trial,
} from '@edgefit/shared/model'
import { type Candidate, type Choice, choose } from './choose.ts'
import { brokenConstraints } from './judge.ts'
import type { Built, ModelUnderTest, StepFailed } from './lab.ts'
import { pickRuntime } from './pick-runtime.ts'
import { stepError } from './step-error.ts'
import type { StudyInput, StudyPorts } from './study-types.ts'

/** A trial that gave figures, and the constraints that they break. */
export interface Standing {
  readonly trial: Trial
  readonly measurement: Measurement
  /** Empty where it satisfies the objective. */
  readonly broken: readonly LossReason[]
}

/**
 * The trials of one study, in the order in which they were made. Each is in the store before the next one starts, and
 * one that the store knows is not made again.
 */
export class TrialBook {
  readonly #input: StudyInput
  readonly #ports: StudyPorts
  readonly #finished: ReadonlyMap<Digest, Trial>
  readonly #signal: AbortSignal
  readonly #trials = new Map<number, Trial>()
  readonly #resolved = new Map<Digest, Recipe>()

  constructor(input: StudyInput, ports: StudyPorts, finished: ReadonlyMap<Digest, Trial>, signal: AbortSignal) {
    this.#input = input
    this.#ports = ports
    this.#finished = finished
    this.#signal = signal
  }

  get trials(): readonly Trial[] {
    return [...this.#trials.values()]
  }

  /** fp32 with the runtime settings that suit it best: trial 0. */
  async measureBaseline(): Promise<Recipe> {
    const known = [...this.#finished.values()].find((trial) => trial.id === 0 && trial.outcome.kind === 'measured')
    if (known !== undefined) {
      await this.#add(known)
      return known.recipe
    }
    const runtime = await this.#tune(this.#input.sourcePath)
    const recipe: Recipe = { schemaVersion: 1, label: 'fp32', passes: [], runtime }
    const { outcome } = await this.tryRecipe(recipe)
    if (outcome.kind === 'failed') throw stepError('fp32 could not be measured', outcome)
    return recipe
  }

  async tryRecipe(recipe: Recipe): Promise<Trial> {
    const id = this.#trials.size
    const digest = recipeDigest(recipe)
    const made = this.trials.find((trial) => trial.recipeDigest === digest)
    if (made !== undefined) return made
    const known = this.#finished.get(digest)
    if (known !== undefined) return this.#add({ ...known, id })
    await this.#ports.onEvent({ kind: 'step', what: `trying ${labelOf(recipe)}` })
    const startedMs = this.#ports.monotonicNow()
    const outcome = await this.#outcomeOf(recipe)
    const durationMs = this.#ports.monotonicNow() - startedMs
    // With a full disk no recipe can be judged: the study ends, and goes on from here when there is room.
    if (outcome.kind === 'failed' && outcome.reason === 'no-space') {
      throw stepError(`${labelOf(recipe)} could not be tried`, outcome)
    }
    const trial: Trial = { id, recipe, recipeDigest: digest, outcome, losses: [], durationMs }
    if (isLasting(trial)) await this.#ports.store.save(this.#input.key, trial, this.#resolved.get(digest))
    return this.#add(trial)
  }

  /** Quantized models are often too small for the threads that suit fp32: the leader's own best settings are a trial too. */
  async tuneLeader(): Promise<void> {
    const { winner } = this.choice()
    const trial = winner && this.#trials.get(winner.trialId)
    if (trial === undefined || trial.id === 0 || this.#input.runtimeCandidates.length < 2) return
    const built = await this.#ports.lab.build(trial.recipe, this.#signal)
    if (built.kind === 'failed') return
    const runtime = await this.#tune(built.path)
    const recipe = { ...trial.recipe, label: `${labelOf(trial.recipe)}, own threads`.slice(0, 120), runtime }
    if (recipeDigest(recipe) !== trial.recipeDigest) await this.tryRecipe(recipe)
  }

  /** @param without trials that have lost already */
  choice(without: ReadonlySet<number> = new Set()): Choice {
    const [baseline, ...others] = this.#candidates()
    if (baseline?.trialId !== 0) throw new Error('a study has no choice before its baseline')
    return choose(
      this.#input.objective,
      baseline,
      others.filter(({ trialId }) => !without.has(trialId)),
    )
  }

  /** Of every compressed variant that was measured. */
  standings(): readonly Standing[] {
    const { outcome } = this.trial(0)
    if (outcome.kind !== 'measured') throw new Error('the baseline is measured first')
    const baseline = outcome.measurement
    return this.trials.flatMap((trial) => {
      if (trial.id === 0 || trial.outcome.kind !== 'measured') return []
      const { measurement } = trial.outcome
      return [{ trial, measurement, broken: brokenConstraints(this.#input.objective, measurement, baseline) }]
    })
  }

  fp32Model(): ModelUnderTest {
    return { path: this.#input.sourcePath, runtime: this.trial(0).recipe.runtime }
  }

  trial(id: number): Trial {
    const trial = this.#trials.get(id)
    if (trial === undefined) throw new Error(`trial ${id} was not made`)
    return trial
  }

  /** What gives the bytes of `trial` again: channels chosen by time or ranges found by calibration are settled in it. */
  async resolvedOf({ recipe, recipeDigest: digest }: Trial): Promise<Recipe> {
    return this.#resolved.get(digest) ?? (await this.#ports.store.resolved(this.#input.key, digest)) ?? recipe
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
    const built = await this.#build(recipe)
    if (built.kind === 'failed') return built
    this.#resolved.set(recipeDigest(recipe), built.resolved)
    const variant = { path: built.path, runtime: recipe.runtime }
    const measured = await lab.measure(variant, this.fp32Model(), 'tuning', this.#signal)
    return measured.kind === 'failed'
      ? measured
      : { ...measured, variant: { digest: built.digest, sizeBytes: built.sizeBytes } }
  }

  /** A recipe of the search that does not suit this model is one trial that failed, not the end of the study. */
  async #build(recipe: Recipe): Promise<Built | StepFailed> {
    try {
      return await this.#ports.lab.build(recipe, this.#signal)
    } catch (error) {
      if (!isEdgefitError(error, 'RECIPE_INVALID') && !isEdgefitError(error, 'INPUT_INVALID')) throw error
      return { kind: 'failed', reason: 'unsupported', message: error.message }
    }
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

  #candidates(): readonly Candidate[] {
    return this.trials.flatMap(({ id, recipe, outcome }) =>
      outcome.kind === 'measured' ? [{ trialId: id, label: labelOf(recipe), measurement: outcome.measurement }] : [],
    )
  }

  async #add(trial: Trial): Promise<Trial> {
    this.#trials.set(trial.id, trial)
    const best = this.#trials.get(0)?.outcome.kind === 'measured' ? this.choice().winner : undefined
    await this.#ports.onEvent({ kind: 'trial', trial, done: this.#trials.size, best })
    return trial
  }
}

/** A failure of fp32 is the box's, not the recipe's: it may be over the next time. */
function isLasting({ id, outcome }: Trial): boolean {
  return outcome.kind === 'measured' || (id !== 0 && outcome.reason !== 'interrupted')
}

export function labelOf(recipe: Recipe): string {
  return recipe.label ?? (recipe.passes.map(({ pass }) => pass).join(' + ') || 'fp32')
}
