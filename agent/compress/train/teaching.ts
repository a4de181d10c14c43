import type { Training } from '@edgefit/shared/model'
import type { Teacher } from './run-step.ts'
import { type AskingOptions, knowingTeacher, presentTeacher } from './teacher.ts'
import { isTaught } from './teacher-fit.ts'

/** What a teacher has to know of a run. */
interface TaughtRun {
  /** In which batches go through. */
  readonly parts: number
  /** Why there is no time left. */
  readonly spent: () => string | undefined
}

export interface Teaching {
  /** The teacher that `training` wants; undefined where it wants none. Asked for once. */
  readonly open: ((run: TaughtRun) => Promise<Teacher>) | undefined
  release(): Promise<void>
}

/** One that knows its answers where samples stay as they are and their scores are all that is asked, else one that is present. */
export function teachingFor(
  { loss, hints, augmentation }: Pick<Training, 'loss' | 'hints' | 'augmentation'>,
  options: AskingOptions,
): Teaching {
  let release: (() => Promise<void>) | undefined
  const isKnown = loss.kind === 'distillation' && hints.length === 0 && augmentation === undefined
  const open = async ({ parts, spent }: TaughtRun): Promise<Teacher> => {
    if (isKnown) return await knowingTeacher({ ...options, spent })
    const asked = hints.map(({ value, from = value, weight }) => ({ value, from, weight }))
    const present = await presentTeacher(options, asked, parts)
    release = present.release
    return present
  }
  return {
    open: isTaught({ loss, hints }) ? open : undefined,
    release: async () => await release?.(),
  }
}
