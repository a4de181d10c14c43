import { Command } from 'commander'
import { CONTROLLER_VERSION } from '../version.ts'
import { controllerCommands } from './controller-commands.ts'
import { datasetCommands } from './dataset-commands.ts'
import { deviceCommands } from './device-commands.ts'
import { eventCommands } from './event-commands.ts'
import type { CliIo } from './io.ts'
import { modelCommands } from './model-commands.ts'
import { reportCommands } from './report-commands.ts'
import { rolloutCommands } from './rollout-commands.ts'

/** The `edgefit` command. Rejects with a CommanderError for bad usage, which Commander has then explained. */
export function createProgram(io: CliIo): Command {
  const program = new Command('edgefit')
    .description('fits ONNX models to edge devices, measured on each, and keeps a fleet of them running')
    .version(CONTROLLER_VERSION)
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(`USAGE: ${text.replace(/^error: /, '')}`),
    })
  for (const command of [
    controllerCommands(io),
    deviceCommands(io),
    datasetCommands(io),
    modelCommands(io),
    rolloutCommands(io),
    reportCommands(io),
    eventCommands(io),
  ])
    program.addCommand(command)
  for (const command of everyCommand(program)) command.copyInheritedSettings(program).exitOverride()
  return program
}

function everyCommand(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(everyCommand)]
}
