import type { LayerSensitivity, Recipe } from '@edgefit/shared/model'
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
 * per millisecond. As many as 1, 2, 4, 8 … until the floor is met, and then fewer again down to the least that meet it.
 *
 * @returns what the result has to say of it
 */
export async function mendAccuracy(book: TrialBook, context: MendContext): Promise<readonly string[]> {
  const miss = nearestMiss(book)
  if (!isWanted(book, context) || miss === undefined) return []
  for (const recipe of repairedRecipes(miss.trial.recipe)) {
    const fared = await attempt(book, context, recipe)
    if (fared === 'holds') return []
    if (fared === 'not tried') return [`${context.budget.ended} before accuracy was repaired`]
  }
  return mixPrecision(book, context, nearestMiss(book) ?? miss)
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
  const fared = (size: number): Promise<Fared> =>
    attempt(
      book,
      context,
      withLayersInFloat(
        recipe,
        ranking.slice(0, size).map(({ layer }) => layer),
      ),
    )

  let tooFew = always
  let enough: number | undefined
  for (let count = 1; enough === undefined; count *= 2) {
    const size = Math.min(always + count, most)
    if (size <= tooFew)
      return [`no number of layers in float that was worth trying lets ${labelOf(recipe)} meet the floor`]
    const answer = await fared(size)
    if (answer === 'not tried') return [`${context.budget.ended} with ${tooFew} layers of ${labelOf(recipe)} in float`]
    if (answer === 'beyond') return []
    if (answer === 'holds') enough = size
    else tooFew = size
  }
  while (enough - tooFew > 1) {
    const size: number = Math.floor((enough + tooFew) / 2)
    const answer = await fared(size)
    if (answer === 'not tried') break
    if (answer === 'holds') enough = size
    else tooFew = size
  }
  return []
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
  const ranked = await ports.lab.rankLayers(trial.recipe, signal)
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
