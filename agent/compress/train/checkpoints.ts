import { type StampedFile, writtenWhereItFits } from './stamped-file.ts'
import type { TrainingState } from './training-state.ts'

const EVERY_MS = 20_000
/** Times the duration of the last checkpoint, until the next: they may take a twentieth of the time. */
const SPACING = 20

/** Keeps the state of a run, so that it can go on after a crash. */
export interface Checkpoints {
  /** Where it is time to. */
  keepWhenDue(state: TrainingState): Promise<void>
  keep(state: TrainingState): Promise<void>
  /** Why the last one could not be kept. */
  unwritten(): string | undefined
}

/** @param file absent: nothing is kept */
export function createCheckpoints(
  file: StampedFile<TrainingState> | undefined,
  monotonicNow: () => number,
  startedMs: number,
): Checkpoints {
  let dueMs = startedMs + EVERY_MS
  let unwritten: string | undefined
  const keep = async (state: TrainingState): Promise<void> => {
    unwritten = await writtenWhereItFits(file, state)
  }
  return {
    keep,
    async keepWhenDue(state) {
      const nowMs = monotonicNow()
      if (nowMs < dueMs) return
      await keep(state)
      const writtenMs = monotonicNow()
      dueMs = writtenMs + Math.max(EVERY_MS, SPACING * (writtenMs - nowMs))
    },
    unwritten: () => unwritten,
  }
}
