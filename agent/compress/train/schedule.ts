/** How the learning rate runs over the steps, after `warmUpSteps` in which it rises from zero in equal parts. */
export type Schedule = { readonly warmUpSteps: number } & (
  | { readonly kind: 'constant' }
  /** Half a cosine down to `finalRatio` of the rate at the last step (arXiv 1608.03983, without restarts). */
  | { readonly kind: 'cosine'; readonly finalRatio: number }
  /** Times `factor` after every `everySteps`. */
  | { readonly kind: 'step'; readonly everySteps: number; readonly factor: number }
)

/**
 * @param step counts from 0
 * @returns what to multiply the base rate by
 */
export function rateFactor(schedule: Schedule, step: number, steps: number): number {
  const { warmUpSteps } = schedule
  if (step < warmUpSteps) return (step + 1) / (warmUpSteps + 1)
  const at = step - warmUpSteps
  switch (schedule.kind) {
    case 'constant':
      return 1
    case 'cosine': {
      const done = Math.min(1, at / Math.max(1, steps - 1 - warmUpSteps))
      return schedule.finalRatio + ((1 - schedule.finalRatio) * (1 + Math.cos(Math.PI * done))) / 2
    }
    case 'step':
      return schedule.factor ** Math.floor(at / schedule.everySteps)
  }
}
