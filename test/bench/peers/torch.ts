import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const INSTALL_TIMEOUT_MS = 20 * 60_000

/**
 * A Python that has PyTorch: the interpreter at `python`, or one of its own in a folder for temporary files, made where
 * there is none yet. `undefined`, and the reason on stderr, where there is no Python or it cannot get its packages.
 */
export async function pythonWithTorch(python: string | undefined): Promise<string | undefined> {
  try {
    if (python !== undefined) await run(python, ['-c', 'import numpy, torch'])
    return python ?? (await ownInterpreter())
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    process.stderr.write(`skipped PyTorch: ${reason}\nname an interpreter that has numpy and torch: --python PATH\n`)
    return undefined
  }
}

async function ownInterpreter(): Promise<string> {
  const folder = join(tmpdir(), 'edgefit-bench-torch')
  const python = join(folder, 'bin', 'python')
  const isReady = await run(python, ['-c', 'import numpy, torch']).then(
    () => true,
    () => false,
  )
  if (isReady) return python
  process.stderr.write(`installing torch for Python in ${folder}; it is large\n`)
  await rm(folder, { recursive: true, force: true })
  const options = { timeout: INSTALL_TIMEOUT_MS }
  await run('python3', ['-m', 'venv', folder], options)
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', 'torch', 'numpy'], options)
  return python
}
