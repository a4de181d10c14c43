import { EdgefitError } from '../errors.ts'
import { Task } from './task.ts'

/** A task as the command lines of both programs spell it: `--task`, `--threshold` … */
export interface TaskFlags {
  readonly task?: Task['kind']
  readonly threshold?: number
  readonly tolerance?: number
  readonly metric?: string
}

/** Undefined where no `--task` was given. @throws EdgefitError USAGE for options that do not go together. */
export function taskFromFlags({ task, threshold, tolerance, metric }: TaskFlags): Task | undefined {
  const misplaced = [
    ['--threshold', threshold, 'binary-score'],
    ['--tolerance', tolerance, 'regression'],
    ['--metric', metric, 'custom'],
  ].find(([, value, kind]) => value !== undefined && kind !== task)
  if (misplaced) {
    const [flag, , kind] = misplaced
    throw new EdgefitError(`${flag} goes with --task ${kind}: add it, or leave ${flag} out`, { code: 'USAGE' })
  }
  if (task === undefined) return undefined
  switch (task) {
    case 'classification':
      return { kind: task }
    case 'binary-score':
      return { kind: task, ...(threshold !== undefined && { threshold }) }
    case 'regression':
      return Task.parse({ kind: task, tolerance })
    case 'custom':
      if (metric === undefined) throw new EdgefitError('--task custom needs --metric MODULE', { code: 'USAGE' })
      return { kind: task, module: metric }
  }
}
