import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { EdgefitError } from '@edgefit/shared'

const TIME_LIMIT_MS = 60_000
/** What the pipes may still hold after the command is gone; they stay open where it has left something running. */
const DRAIN_MS = 200
const OUTPUT_LIMIT = 2000

/**
 * Tells the box's own application that a slot changed: runs `command` in a shell with `EDGEFIT_SLOT`,
 * `EDGEFIT_MODEL` and `EDGEFIT_RUNTIME` in its environment and waits for it. What it has started in the background goes
 * on; a command that is stopped takes all that it started with it.
 *
 * @throws EdgefitError `INTERNAL` where it exits with another status than 0 or takes more than a minute.
 */
export async function runActivationHook(
  command: string,
  slot: { readonly name: string; readonly modelPath: string; readonly runtimePath: string },
  signal: AbortSignal,
  timeLimitMs = TIME_LIMIT_MS,
): Promise<void> {
  signal.throwIfAborted()
  // A process group of its own, so that it can be stopped as a whole.
  const child = spawn('/bin/sh', ['-c', command], {
    env: {
      ...process.env,
      EDGEFIT_SLOT: slot.name,
      EDGEFIT_MODEL: slot.modelPath,
      EDGEFIT_RUNTIME: slot.runtimePath,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_LIMIT)
    })
  }
  const stop = () => killGroup(child)
  const limit = AbortSignal.timeout(timeLimitMs)
  const end = AbortSignal.any([signal, limit])
  end.addEventListener('abort', stop)
  try {
    const how = await ended(child)
    signal.throwIfAborted()
    if (limit.aborted) throw failure(`took more than ${timeLimitMs / 1000} s and was stopped`, output)
    if (how !== undefined) throw failure(how, output)
  } finally {
    end.removeEventListener('abort', stop)
  }
}

function failure(how: string, output: string): EdgefitError {
  return new EdgefitError(`the activation command ${how}${output === '' ? '' : `: ${output.trim()}`}`, {
    code: 'INTERNAL',
  })
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It was faster.
  }
}

/** How it failed, in words; undefined for exit status 0. */
function ended(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once('error', ({ message }) => resolve(`could not be started: ${message}`))
    child.once('exit', (code, killedBy) => {
      const how = code === 0 ? undefined : `ended with ${killedBy ?? `status ${code}`}`
      child.once('close', () => resolve(how))
      setTimeout(() => {
        // What was left running keeps its output, and the agent can end without it.
        for (const stream of [child.stdout, child.stderr]) if (stream instanceof Socket) stream.unref()
        resolve(how)
      }, DRAIN_MS)
    })
  })
}
