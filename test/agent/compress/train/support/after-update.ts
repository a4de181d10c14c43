import type { Standing, TrainingProgress } from '../../../../../agent/compress/train/progress.ts'

/** Tells where a run stands after each update. */
export function afterUpdate(see: (at: Standing) => void): (progress: TrainingProgress) => void {
  return (progress) => {
    if (progress.doing === 'updating' && Number.isInteger(progress.at.update)) see(progress.at)
  }
}
