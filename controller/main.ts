#!/usr/bin/env node
import { describeFailure } from '@edgefit/shared'
import { CommanderError } from 'commander'
import { createProgram } from './cli/program.ts'

async function main(): Promise<void> {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  const program = createProgram({
    stdout: process.stdout,
    stderr: process.stderr,
    signal: stop.signal,
    now: Date.now,
    defaultDataDir: process.env['EDGEFIT_DATA'] ?? './edgefit-data',
    setExitCode: (status) => {
      process.exitCode = status
    },
  })
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
