import type { TaskFlags } from '@edgefit/shared/model'
import { Command } from 'commander'
import { openBox } from './box.ts'
import { readRecipe, requireFile } from './files.ts'
import { formatLayers } from './format-layers.ts'
import { type CliIo, jobShares, printResult, progressOf } from './io.ts'
import { rankedLayers } from './layers.ts'
import { addLimitOptions, type LimitOptions, seedOption } from './options.ts'
import { addTaskOptions, taskOf } from './task-option.ts'

interface LayersFlags extends LimitOptions, TaskFlags {
  readonly data: string
  readonly recipe?: string
  readonly seed: number
  readonly json?: boolean
}

export function layersCommand(io: CliIo): Command {
  const command = new Command('layers')
    .description('rank the layers of a model: accuracy won back by each in float, for the time it costs on this box')
    .argument('<model>', 'an fp32 ONNX file')
    .requiredOption('--data <file>', 'dataset (.npz)')
    .option('--recipe <file>', 'rank by its pass that quantizes layer by layer; absent: static int8, minmax')
    .addOption(seedOption())
    .option('--json', 'print recipe and layers as JSON')
    .addHelpText('after', '\nExample:\n  edgefit-agent layers model.onnx --data data.npz')
    .action(async (modelPath: string, flags: LayersFlags) => {
      await requireFile('model', modelPath)
      await requireFile('--data', flags.data)
      if (flags.recipe !== undefined) await requireFile('--recipe', flags.recipe)
      const recipe = flags.recipe === undefined ? {} : { recipe: await readRecipe(flags.recipe) }
      const options = { modelPath, npzPath: flags.data, task: taskOf(flags), seed: flags.seed, ...recipe }
      const progress = progressOf(io, flags.json ?? false)
      const box = await openBox(flags)
      const profile = await box.profile(io.signal)
      const { now, monotonicNow } = io
      const ports = {
        runner: box.runner,
        profile,
        now,
        monotonicNow,
        onStep: progress.step,
        onProgress: jobShares(progress),
      }
      const ranking = await rankedLayers(options, ports, io.signal)
      progress.done()
      printResult(io, flags.json ?? false, ranking, () => formatLayers(ranking))
    })
  return addTaskOptions(addLimitOptions(command))
}
