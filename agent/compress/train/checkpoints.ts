import { type StampedFile, writtenWhereItFits } from './stamped-file.ts'

const EVERY_MS = 20_000
/** Times the duration of the last checkpoint, until the next: they may take a twentieth of the time. */
const SPACING = 20

/** Keeps what was done so far, so that it can go on from there after a crash. */
export interface Checkpoints<Value> {
  /** Where it is time to. */
  keepWhenDue(value: Value): Promise<void>
  keep(value: Value): Promise<void>
  /** Why the last one could not be kept. */
  unwritten(): string | undefined
}

/** @param file absent: nothing is kept */
export function createCheckpoints<Value>(
  file: StampedFile<Value> | undefined,
  monotonicNow: () => number,
  startedMs: number,
): Checkpoints<Value> {
  let dueMs = startedMs + EVERY_MS
  let unwritten: string | undefined
  const keep = async (value: Value): Promise<void> => {
    unwritten = await writtenWhereItFits(file, value)
  }
  return {
    keep,
    async keepWhenDue(value) {
      const nowMs = monotonicNow()
      if (nowMs < dueMs) return
      await keep(value)
      const writtenMs = monotonicNow()
      dueMs = writtenMs + Math.max(EVERY_MS, SPACING * (writtenMs - nowMs))
    },
    unwritten: () => unwritten,
  }
}
