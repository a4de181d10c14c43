import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { threadsFor } from '../profile/threads-for.ts'
import { openBox } from './box.ts'
import { cacheDir, requireFile } from './files.ts'
import { formatOperators } from './format-operators.ts'
import { type CliIo, jobShares, printResult, progressOf } from './io.ts'
import { timedOperators } from './operators.ts'
import { addLimitOptions, type LimitOptions } from './options.ts'

interface OperatorsFlags extends LimitOptions {
  readonly dim: Readonly<Record<string, number>>
  readonly json?: boolean
}

export function operatorsCommand(io: CliIo): Command {
  const command = new Command('operators')
    .description(
      'say where the time of a model goes: operators timed one by one, and how far their sum is from the whole',
    )
    .argument('<model>', 'an ONNX file')
    .addOption(
      new Option('--dim <name=n>', 'length of an open dimension; those not named are 1. Can be repeated')
        .argParser(collectLength)
        .default({}, 'all 1'),
    )
    .option('--json', 'print times and full descriptions as JSON')
    .addHelpText('after', '\nExample:\n  edgefit-agent operators model.onnx --max-threads 1 --dim sequence=32')
    .action(async (modelPath: string, flags: OperatorsFlags) => {
      await requireFile('model', modelPath)
      const progress = progressOf(io, flags.json ?? false)
      const box = await openBox(flags)
      progress.step('profiling this box')
      const { hardwareClass, limits } = await box.profile(io.signal)
      const intraOpThreads = threadsFor(limits.cpus)
      progress.step('timing operators')
      const times = await timedOperators(
        { modelPath, lengths: flags.dim, runtime: { intraOpThreads, allowSpinning: false, memoryArena: true } },
        {
          runner: box.runner,
          hardwareClass,
          latencyDir: join(cacheDir(), 'latency'),
          onProgress: jobShares(progress),
        },
        io.signal,
      )
      progress.done()
      printResult(io, flags.json ?? false, times, () => formatOperators(times))
    })
  return addLimitOptions(command)
}

function collectLength(text: string, lengths: Readonly<Record<string, number>>): Record<string, number> {
  const [, name, digits] = /^(.+)=([1-9]\d{0,8})$/.exec(text) ?? []
  if (name === undefined || digits === undefined) {
    throw new InvalidArgumentError(`"${text}" is not NAME=LENGTH, for example sequence=32.`)
  }
  return { ...lengths, [name]: Number(digits) }
}
