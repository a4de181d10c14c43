import { EdgefitError } from '@edgefit/shared'
import { type Task, type TaskFlags, type TensorSpec, taskFromFlags } from '@edgefit/shared/model'
import { Command, Option } from 'commander'
import { mebibytes, utcMinute } from '../report/words.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { finite, numberAbove } from './option-parsers.ts'
import { formatFacts, formatTable, print, versionText } from './output.ts'

export function modelCommands(io: CliIo): Command {
  return new Command('model')
    .description('models to be fitted')
    .addCommand(publishCommand(io))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
}

interface PublishFlags extends CommonFlags, TaskFlags {
  readonly data?: string
}

function publishCommand(io: CliIo): Command {
  return verb(io, 'publish <name> <file>', 'put an fp32 ONNX file into the catalog', [
    'edgefit model publish detector detector.onnx --task classification',
    'edgefit model publish detector detector.onnx --data road-scenes',
  ])
    .addOption(
      new Option('--task <kind>', 'what the outputs mean').choices(['classification', 'binary-score', 'regression']),
    )
    .addOption(
      new Option('--threshold <score>', 'binary-score: judge accuracy at this score instead of the AUC').argParser(
        finite,
      ),
    )
    .addOption(
      new Option('--tolerance <ratio>', 'regression: relative error that still counts as right').argParser(
        numberAbove(0, 1),
      ),
    )
    .option('--data <name>', 'without --task: tell it from the labels of this dataset')
    .action(async (name: string, file: string, flags: PublishFlags) => {
      const task = taskOf(flags)
      const { sendModel } = await import('./send-model.ts')
      const client = connect(io, flags)
      const upload = await sendModel(io, client, file, flags.json === true)
      const input = { name, upload, task, dataset: flags.data ?? null }
      const result = await client.call('model.publish', input, io.signal)
      const { model, created } = result
      const published = created ? 'published' : 'published before'
      print(
        io,
        flags.json,
        result,
        () =>
          `${versionText(model)}: ${published}, ${taskText(model.task)}, ${mebibytes(model.artifact.sizeBytes)} MiB`,
      )
    })
}

/** @throws EdgefitError USAGE for options that do not go together, or where nothing tells the task */
function taskOf(flags: PublishFlags): Task | null {
  const task = taskFromFlags(flags)
  if (task !== undefined) return task
  if (flags.data !== undefined) return null
  throw new EdgefitError('say what the outputs mean: --task KIND, or --data NAME to tell it from labels', {
    code: 'USAGE',
  })
}

function listCommand(io: CliIo): Command {
  return verb(io, 'list', 'models and their versions', ['edgefit model list']).action(async (flags: CommonFlags) => {
    const result = await connect(io, flags).call('model.list', {}, io.signal)
    print(io, flags.json, result, () => {
      if (result.models.length === 0) return 'no models; "edgefit model publish" adds one'
      const rows = result.models.map((model) => [
        versionText(model),
        taskText(model.task),
        mebibytes(model.artifact.sizeBytes),
        utcMinute(model.publishedAtMs),
      ])
      return formatTable(io, ['MODEL', 'TASK', { name: 'MIB', alignment: 'right' }, 'PUBLISHED'], rows)
    })
  })
}

function showCommand(io: CliIo): Command {
  return verb(io, 'show <model>', 'one model; NAME is its newest version', ['edgefit model show detector@3']).action(
    async (name: string, flags: CommonFlags) => {
      const result = await connect(io, flags).call('model.show', { model: name }, io.signal)
      const { model } = result
      print(io, flags.json, result, () =>
        formatFacts(io, [
          ['model', versionText(model)],
          ['published', utcMinute(model.publishedAtMs)],
          ['task', taskText(model.task)],
          ...model.inputs.map((input) => ['input', tensorText(input)] as const),
          ...model.outputs.map((output) => ['output', tensorText(output)] as const),
          ['size', `${mebibytes(model.artifact.sizeBytes)} MiB`],
          ['digest', model.artifact.digest],
        ]),
      )
    },
  )
}

function taskText(task: Task): string {
  if (task.kind === 'binary-score' && task.threshold !== undefined) return `binary-score at ${task.threshold}`
  return task.kind === 'regression' ? `regression within ${task.tolerance}` : task.kind
}

function tensorText({ name, type, dims }: TensorSpec): string {
  return `${name}: ${type} [${dims.map((dim) => dim ?? '?').join(', ')}]`
}
