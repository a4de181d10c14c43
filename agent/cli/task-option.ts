import { resolve } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import type { Task } from '@edgefit/shared/model'
import { type Command, Option } from 'commander'
import { finiteNumber, numberIn } from './options.ts'

export interface TaskOptions {
  readonly task?: Task['kind']
  readonly threshold?: number
  readonly tolerance?: number
  readonly metric?: string
}

export function addTaskOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--task <kind>', 'what the outputs mean (default: told by the labels)').choices([
        'classification',
        'binary-score',
        'regression',
        'custom',
      ]),
    )
    .addOption(
      new Option('--threshold <score>', 'binary-score: judge accuracy at this score instead of the AUC').argParser(
        finiteNumber,
      ),
    )
    .addOption(
      new Option('--tolerance <ratio>', 'regression: relative error that still counts as right').argParser(
        numberIn(0, 1),
      ),
    )
    .addOption(new Option('--metric <module>', 'custom: a module that exports score(outputs, label)'))
}

/** Undefined where no `--task` was given. @throws EdgefitError USAGE for options that do not go together. */
export function taskOf({ task, threshold, tolerance, metric }: TaskOptions): Task | undefined {
  const misplaced = [
    ['--threshold', threshold, 'binary-score'],
    ['--tolerance', tolerance, 'regression'],
    ['--metric', metric, 'custom'],
  ].find(([, value, kind]) => value !== undefined && kind !== task)
  if (misplaced) {
    throw new EdgefitError(`${misplaced[0]} goes with --task ${misplaced[2]}: add it or leave ${misplaced[0]} out`, {
      code: 'USAGE',
    })
  }
  if (task === undefined) return undefined
  switch (task) {
    case 'classification':
      return { kind: task }
    case 'binary-score':
      return { kind: task, ...(threshold !== undefined && { threshold }) }
    case 'regression':
      return { kind: task, tolerance: tolerance ?? 0.05 }
    case 'custom':
      if (metric === undefined) throw new EdgefitError('--task custom needs --metric MODULE', { code: 'USAGE' })
      return { kind: task, module: resolve(metric) }
  }
}
