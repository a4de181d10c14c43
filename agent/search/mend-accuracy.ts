import { type LayerSensitivity, type Recipe, recipeDigest } from '@edgefit/shared/model'
import type { StudyBudget } from './budget.ts'
import { hasLayerPass, repairedRecipes, sizesOf, withLayersInFloat } from './mixed-precision.ts'
import { stepError } from './step-error.ts'
import type { StudyInput, StudyPorts } from './study-types.ts'
import { labelOf, type Standing, type TrialBook } from './trial-book.ts'

export interface MendContext {
  readonly study: StudyInput
  readonly ports: StudyPorts
  readonly budget: StudyBudget
  /** Told before more are tried. @param trials that may come at most */
  readonly onPlanned: (trials: number) => Promise<void> | void
  readonly signal: AbortSignal
}

/** How a recipe fared: `beyond` breaks other constraints than accuracy, or gave nothing. */
type Fared = 'holds' | 'inaccurate' | 'beyond' | 'not tried'

/**
 * For a study in which no compressed variant holds, but one is fast enough and only not accurate enough: tries that one
 * with its accuracy repaired, and then with more and more of its layers in float, those first that win back most accuracy
 * per millisecond: those that are faster in float, then 1, 2, 4, 8 … more until the floor is met, and then fewer again down
 * to the least that meet it. Where so many break other constraints, what is between is looked through in the same way.
 *
 * @returns what the result has to say of it
 */
export async function mendAccuracy(book: TrialBook, context: MendContext): Promise<readonly string[]> {
  const miss = nearestMiss(book)
  if (!isWanted(book, context) || miss === undefined) return []
  const repaired = repairedRecipes(miss.trial.recipe)
  if (repaired.length > 0) await context.onPlanned(repaired.length)
  for (const recipe of repaired) {
    if (await isKnownVariant(book, context, recipe)) continue
    const fared = await attempt(book, context, recipe)
    if (fared === 'holds') return []
    if (fared === 'not tried') return [`${context.budget.ended} before accuracy was repaired`]
  }
  return mixPrecision(book, context, nearestMiss(book) ?? miss)
}

/** Whether `recipe` gives the bytes of an earlier trial, as one that equalizes does where a model has nothing to equalize. */
async function isKnownVariant(
  book: TrialBook,
  { study, ports, budget, signal }: MendContext,
  recipe: Recipe,
): Promise<boolean> {
  if (budget.isSpent() || (await ports.store.finished(study.key)).has(recipeDigest(recipe))) return false
  await ports.onEvent({ kind: 'step', what: `building ${labelOf(recipe)}` })
  // What comes of a recipe that cannot be built is for its trial to say.
  const built = await ports.lab.build(recipe, signal).catch(() => undefined)
  signal.throwIfAborted()
  if (built?.kind !== 'done') return false
  return book.trials.some(({ outcome }) => outcome.kind === 'measured' && outcome.variant.digest === built.digest)
}

/** Never where a compressed variant holds already: a study whose floor is met is not to take longer. */
function isWanted(book: TrialBook, { study }: MendContext): boolean {
  const { winner } = book.choice()
  return winner === undefined || (winner.trialId === 0 && study.objective.minimize !== 'none')
}

/** The most accurate of the variants that break the accuracy floor alone; of two the faster. */
function nearestMiss(book: TrialBook): Standing | undefined {
  const missing = book
    .standings()
    .filter(({ trial, broken }) => broken.length > 0 && broken.every(isOfAccuracy) && hasLayerPass(trial.recipe))
  const accuracy = ({ measurement }: Standing) => measurement.accuracy?.value ?? 0
  const ratio = ({ measurement }: Standing) => measurement.againstBaseline?.latencyRatio.ratio ?? 1
  return missing.sort((a, b) => accuracy(b) - accuracy(a) || ratio(a) - ratio(b))[0]
}

async function mixPrecision(book: TrialBook, context: MendContext, miss: Standing): Promise<readonly string[]> {
  const { recipe } = miss.trial
  const ranking = await rankingOf(context, miss)
  if (typeof ranking === 'string') return [ranking]
  const { always, most } = sizesOf(ranking)
  const layers = ranking.map(({ layer }) => layer)
  const label = labelOf(recipe)
  if (most > 0) await context.onPlanned(mostSizesTried(most))

  let tooFew = Math.max(0, always - 1)
  /** That many hold, or are beyond: what is wanted is below. */
  let end = most + 1
  let held = false
  let added = always > 0 ? 0 : 1
  let size = Math.min(always + added, most)
  while (tooFew < size && size < end) {
    const fared = await attempt(book, context, withLayersInFloat(recipe, layers.slice(0, size)))
    if (fared === 'not tried') {
      return held ? [] : [`${context.budget.ended} before enough layers of ${label} were in float`]
    }
    if (fared === 'holds' || (fared === 'beyond' && !held)) end = size
    else tooFew = size
    held ||= fared === 'holds'
    added = Math.max(1, 2 * added)
    size = end <= most ? Math.floor((tooFew + end) / 2) : Math.min(always + added, most)
  }
  if (held) return []
  const within = end <= most ? ' within the other constraints' : ''
  return [`no number of layers in float that was worth trying lets ${label} meet the floor${within}`]
}

/** Doubling up to `most`, and halving what is between the last two. */
function mostSizesTried(most: number): number {
  return 2 * Math.ceil(Math.log2(most)) + 2
}

/** From the store where it is known: milliseconds differ from run to run, and a study that goes on must not turn round. */
async function rankingOf(
  { study, ports, budget, signal }: MendContext,
  { trial }: Standing,
): Promise<readonly LayerSensitivity[] | string> {
  const known = await ports.store.ranking(study.key, trial.recipeDigest)
  if (known !== undefined) return known
  if (budget.isSpent()) return `${budget.ended} before the layers were ranked`
  await ports.onEvent({ kind: 'step', what: `ranking the layers of ${labelOf(trial.recipe)}` })
  // The other half is for what the ranking is good for.
  const ranked = await ports.lab.rankLayers(trial.recipe, budget.leftMs() / 2, signal)
  if (ranked.kind === 'failed') {
    if (ranked.reason === 'no-space') throw stepError('the layers could not be ranked', ranked)
    return `the layers of ${labelOf(trial.recipe)} could not be ranked: ${ranked.message}`
  }
  await ports.store.saveRanking(study.key, trial.recipeDigest, ranked.layers)
  return ranked.layers
}

async function attempt(book: TrialBook, { budget }: MendContext, recipe: Recipe): Promise<Fared> {
  if (budget.isSpent()) return 'not tried'
  const { id } = await book.tryRecipe(recipe)
  const standing = book.standings().find(({ trial }) => trial.id === id)
  if (standing === undefined) return 'beyond'
  if (standing.broken.length === 0) return 'holds'
  return standing.broken.every(isOfAccuracy) ? 'inaccurate' : 'beyond'
}

function isOfAccuracy({ reason }: Standing['broken'][number]): boolean {
  return reason === 'accuracy-below-floor' || reason === 'accuracy-undecided'
}
