import { spawn } from 'node:child_process'
import { EdgefitError } from '@edgefit/shared'

const TIME_LIMIT_MS = 60_000
const OUTPUT_LIMIT = 2000

/**
 * Tells the box's own application that a slot changed: runs `command` in a shell with `EDGEFIT_SLOT`,
 * `EDGEFIT_MODEL` and `EDGEFIT_RUNTIME` in its environment and waits for it.
 *
 * @throws EdgefitError `INTERNAL` where it exits with another status than 0 or takes more than a minute.
 */
export function runActivationHook(
  command: string,
  slot: { readonly name: string; readonly modelPath: string; readonly runtimePath: string },
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], {
      env: {
        ...process.env,
        EDGEFIT_SLOT: slot.name,
        EDGEFIT_MODEL: slot.modelPath,
        EDGEFIT_RUNTIME: slot.runtimePath,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIME_LIMIT_MS)]),
      killSignal: 'SIGKILL',
    })
    let output = ''
    const collect = (data: Buffer) => {
      output = (output + data.toString()).slice(-OUTPUT_LIMIT)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', (cause) => {
      reject(new EdgefitError(`the activation command did not finish: ${command}`, { code: 'INTERNAL', cause }))
    })
    child.on('exit', (code, killedBy) => {
      if (code === 0) resolve()
      else
        reject(
          new EdgefitError(`the activation command ended with ${killedBy ?? `status ${code}`}: ${output.trim()}`, {
            code: 'INTERNAL',
          }),
        )
    })
  })
}
