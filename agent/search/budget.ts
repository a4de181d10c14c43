/** How long a study may go on starting trials. */
export interface StudyBudget {
  isSpent(): boolean
  /** At least 0. */
  leftMs(): number
  /** For people: begins the sentence that says where the study was. */
  readonly ended: string
}

/** @param spentMs milliseconds of work so far, waiting left out */
export function studyBudget(budgetMs: number, spentMs: () => number): StudyBudget {
  const startedMs = spentMs()
  const leftMs = () => budgetMs - (spentMs() - startedMs)
  return {
    isSpent: () => leftMs() < 0,
    leftMs: () => Math.max(0, leftMs()),
    ended: `the search budget of ${budgetMs / 1000} s ended`,
  }
}
