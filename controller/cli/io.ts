import { join } from 'node:path'
import { Command } from 'commander'
import { type ControllerClient, createClient } from '../api/client.ts'

/** What a verb needs of the world around the process. */
export interface CliIo {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  /** Aborted on SIGINT and SIGTERM. */
  readonly signal: AbortSignal
  /** Epoch milliseconds. */
  readonly now: () => number
  /** Data directory where no --data-dir is given. */
  readonly defaultDataDir: string
  /** Asked to read files again, as by SIGHUP. */
  onReload(handler: () => void): void
  setExitCode(status: 0 | 1 | 2): void
}

/** Options that every verb has. */
export interface CommonFlags {
  readonly dataDir: string
  readonly json?: boolean
}

/** A verb with the common options and an example in its help. */
export function verb(io: CliIo, nameAndArguments: string, description: string, examples: readonly string[]): Command {
  const command = new Command(nameAndArguments.split(' ', 1)[0])
  for (const argument of nameAndArguments.split(' ').slice(1)) command.argument(argument)
  return command
    .description(description)
    .option('--data-dir <dir>', 'data directory of the controller (or EDGEFIT_DATA)', io.defaultDataDir)
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `\n${examples.length > 1 ? 'Examples' : 'Example'}:\n${examples.map((e) => `  ${e}`).join('\n')}`,
    )
}

export function connect(io: CliIo, { dataDir }: CommonFlags): ControllerClient {
  return createClient({
    socketPath: join(dataDir, 'controller.sock'),
    storePath: join(dataDir, 'fleet.db'),
    now: io.now,
  })
}
