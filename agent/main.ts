#!/usr/bin/env node
import { describeFailure } from '@edgefit/shared'
import { Command, CommanderError } from 'commander'
import { fleetCommands } from './cli/fleet-commands.ts'
import type { CliIo } from './cli/io.ts'
import { offlineCommands } from './cli/offline-commands.ts'
import { AGENT_VERSION } from './version.ts'

async function main(): Promise<void> {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  const io: CliIo = {
    stdout: process.stdout,
    stderr: process.stderr,
    signal: stop.signal,
    now: Date.now,
    monotonicNow: performance.now.bind(performance),
    random: Math.random,
  }
  const program = new Command('edgefit-agent')
    .description('fits ONNX models to this box, measured here, and keeps them running')
    .version(AGENT_VERSION)
    .configureOutput({ outputError: (text, write) => write(`USAGE: ${text.replace(/^error: /, '')}`) })
    .exitOverride()
  for (const command of [...fleetCommands(io), ...offlineCommands(io)])
    program.addCommand(command.copyInheritedSettings(program))
  try {
    await program.parseAsync()
  } catch (error) {
    // Commander has already said what is wrong with the usage, or printed the help that was asked for.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
    else if (stop.signal.aborted) process.exitCode = 130
    else fail(error)
  }
}

function fail(error: unknown): void {
  const { text, exitStatus } = describeFailure(error)
  process.stderr.write(`${text}\n`)
  process.exitCode = exitStatus
}

await main()
