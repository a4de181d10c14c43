import type { Recipe } from '@edgefit/shared/model'
import type { StudyBudget } from './budget.ts'
import { LARGEST_SAVED_SHARE } from './pruning-candidates.ts'
import type { StudyInput } from './study-types.ts'
import type { TrialBook } from './trial-book.ts'

/**
 * For a study in which nothing holds, but something, fp32 or a variant, is only too slow, and by no more than pruning may
 * save: tries `recipes` until one holds.
 *
 * @returns what the result has to say of it
 */
export async function tryPruning(
  book: TrialBook,
  recipes: readonly Recipe[],
  { study, budget }: { readonly study: StudyInput; readonly budget: StudyBudget },
): Promise<readonly string[]> {
  if (!isWithinReach(book, study.objective.latencyP90Ms)) return []
  for (const recipe of recipes) {
    if (book.choice().winner !== undefined) return []
    if (budget.isSpent()) return [`${budget.ended} before all pruned variants were tried`]
    await book.tryRecipe(recipe)
  }
  return []
}

function isWithinReach(book: TrialBook, latencyP90Ms: number): boolean {
  const { winner, losses } = book.choice()
  if (winner !== undefined) return false
  return book.trials.some(({ id, outcome }) => {
    const lost = losses.get(id) ?? []
    return (
      outcome.kind === 'measured' &&
      lost.every(({ reason }) => reason === 'too-slow') &&
      outcome.measurement.latencyMs.p90Bound * (1 - LARGEST_SAVED_SHARE) <= latencyP90Ms
    )
  })
}
