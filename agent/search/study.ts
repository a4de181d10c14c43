import { studyBudget } from './budget.ts'
import { conclude } from './conclude.ts'
import { mendAccuracy } from './mend-accuracy.ts'
import type { StudyInput, StudyPorts, StudyResult } from './study-types.ts'
import { TrialBook } from './trial-book.ts'
import { tryPruning } from './try-pruning.ts'

/**
 * Fits one model to this box, in stages: fp32 first, then each recipe, then what may mend those that are fast enough and
 * not accurate enough, then pruning where those that are accurate enough are too slow, each measured on the tuning split;
 * the choice is then measured once on the evaluation split, where it has to hold again.
 *
 * Resumable: trials and rankings that `store` knows are not made again. An exception means that nothing could be measured
 * at all (`TRIAL_FAILED`, `PASS_FAILED`, `MODEL_UNSUPPORTED`) or that `signal` was aborted.
 */
export async function runStudy(input: StudyInput, ports: StudyPorts, signal: AbortSignal): Promise<StudyResult> {
  const budget = studyBudget(input.budgetMs, () => ports.monotonicNow() - ports.lab.waitedMs())
  const book = new TrialBook(input, ports, await ports.store.finished(input.key), signal)
  const baseline = await book.measureBaseline()
  const recipes = input.candidates(baseline.runtime)
  // The leader's own threads are a trial too.
  const last = input.runtimeCandidates.length > 1 ? 1 : 0
  const onPlanned = (more: number) => ports.onEvent({ kind: 'planned', trials: book.trials.length + more + last })
  await onPlanned(recipes.length)

  const notes: string[] = []
  for (const [index, recipe] of recipes.entries()) {
    if (input.objective.minimize === 'none' && book.choice().winner !== undefined) break
    if (budget.isSpent()) {
      notes.push(`${budget.ended} after ${index} of ${recipes.length} recipes`)
      break
    }
    await book.tryRecipe(recipe)
  }
  notes.push(...(await mendAccuracy(book, { study: input, ports, budget, onPlanned, signal })))
  notes.push(...(await tryPruning(book, input.pruning?.(baseline.runtime) ?? [], { study: input, budget, onPlanned })))
  await book.tuneLeader()
  return conclude(book, input, ports, notes, signal)
}
