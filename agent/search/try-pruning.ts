import type { StudyBudget } from './budget.ts'
import type { PruningCandidate } from './pruning-candidates.ts'
import type { StudyInput } from './study-types.ts'
import type { TrialBook } from './trial-book.ts'

interface PruningContext {
  readonly study: StudyInput
  readonly budget: StudyBudget
  /** Told before the first one is tried. @param trials that may come at most */
  readonly onPlanned: (trials: number) => Promise<void> | void
}

/**
 * For a study in which nothing holds, but something, fp32 or a variant, is only too slow: tries those `candidates` that
 * may save what the fastest such lacks, until one holds.
 *
 * @returns what the result has to say of it
 */
export async function tryPruning(
  book: TrialBook,
  candidates: readonly PruningCandidate[],
  { study, budget, onPlanned }: PruningContext,
): Promise<readonly string[]> {
  const enough = thoseThatSuffice(book, candidates, study.objective.latencyP90Ms)
  if (enough.length > 0) await onPlanned(enough.length)
  for (const { recipe } of enough) {
    if (book.choice().winner !== undefined) return []
    if (budget.isSpent()) return [`${budget.ended} before all pruned variants were tried`]
    await book.tryRecipe(recipe)
  }
  return []
}

function thoseThatSuffice(
  book: TrialBook,
  candidates: readonly PruningCandidate[],
  latencyP90Ms: number,
): readonly PruningCandidate[] {
  const { winner, losses } = book.choice()
  if (winner !== undefined) return []
  const bounds = book.trials.flatMap(({ id, outcome }) => {
    const isOnlyTooSlow = (losses.get(id) ?? []).every(({ reason }) => reason === 'too-slow')
    return outcome.kind === 'measured' && isOnlyTooSlow ? [outcome.measurement.latencyMs.p90Bound] : []
  })
  const fastest = Math.min(...bounds)
  return candidates.filter(({ savedShare }) => fastest * (1 - savedShare) <= latencyP90Ms)
}
