import { resolve } from 'node:path'
import { type Task, type TaskFlags, taskFromFlags } from '@edgefit/shared/model'
import { type Command, Option } from 'commander'
import { finiteNumber, numberIn } from './options.ts'

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
export function taskOf({ metric, ...flags }: TaskFlags): Task | undefined {
  return taskFromFlags({ ...flags, ...(metric !== undefined && { metric: resolve(metric) }) })
}
