import type { Training } from '@edgefit/shared/model'

type Schedule = Training['schedule']

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
