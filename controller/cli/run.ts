import { describeFailure } from '@edgefit/shared'
import { CommanderError } from 'commander'
import type { CliIo } from './io.ts'
import { createProgram } from './program.ts'

/** Runs one command line. Failures are printed; the result is the exit status: 0 done, 1 failed, 2 bad usage. */
export async function runCli(args: readonly string[], io: Omit<CliIo, 'setExitCode'>): Promise<number> {
  let status = 0
  const setExitCode = (code: number) => {
    status = code
  }
  try {
    await createProgram({ ...io, setExitCode }).parseAsync([...args], { from: 'user' })
    return status
  } catch (error) {
    // Commander has already said what is wrong with the usage, or printed the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (io.signal.aborted) return 130
    const { text, exitStatus } = describeFailure(error)
    io.stderr.write(`${text}\n`)
    return exitStatus
  }
}
