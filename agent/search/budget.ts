/** How long a study may go on starting trials. */
export interface StudyBudget {
  isSpent(): boolean
  /** For people: begins the sentence that says where the study was. */
  readonly ended: string
}

/** @param spentMs milliseconds of work so far, waiting left out */
export function studyBudget(budgetMs: number, spentMs: () => number): StudyBudget {
  const startedMs = spentMs()
  return {
    isSpent: () => spentMs() - startedMs > budgetMs,
    ended: `the search budget of ${budgetMs / 1000} s ended`,
  }
}
