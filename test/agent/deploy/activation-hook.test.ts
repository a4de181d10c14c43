import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { runActivationHook } from '../../../agent/deploy/activation-hook.ts'

const never = new AbortController().signal
const slot = { name: 'main', modelPath: '/active/main/model.onnx', runtimePath: '/active/main/runtime.json' }

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-hook-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const pidIn = async (path: string) => Number(await readFile(path, 'utf8'))
/** What has ended may wait for long to be reaped where the host's first process does not care. */
const isAlive = (pid: number) => {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

it('names the slot and its files to the command', async () => {
  const told = join(folder, 'told')

  await runActivationHook(`echo "$EDGEFIT_SLOT $EDGEFIT_MODEL $EDGEFIT_RUNTIME" > ${told}`, slot, never)

  expect(await readFile(told, 'utf8')).toBe('main /active/main/model.onnx /active/main/runtime.json\n')
})

it('fails with the status and the end of what the command said, however much that was', async () => {
  const command = 'yes noise | head -c 3000000 >&2; echo "no such unit" >&2; exit 3'

  const error = await runActivationHook(command, slot, never).catch((cause: unknown) => cause)

  expect(String(error)).toMatch(/status 3: [\s\S]*no such unit$/)
  expect(String(error).length).toBeLessThan(2200)
})

it('stops a command that hangs, with all that it started', async () => {
  const pidFile = join(folder, 'pid')
  const command = `sleep 600 & echo $! > ${pidFile}; wait`

  await expect(runActivationHook(command, slot, never, 300)).rejects.toThrow(/took more than 0.3 s/)

  const pid = await pidIn(pidFile)
  await expect.poll(() => isAlive(pid)).toBe(false)
})

it('does not wait for what the command left running', async () => {
  const pidFile = join(folder, 'pid')

  await runActivationHook(`sleep 600 & echo $! > ${pidFile}`, slot, never)

  const pid = await pidIn(pidFile)
  expect(isAlive(pid)).toBe(true)
  process.kill(pid)
})

it('ends with the agent', async () => {
  const stop = new AbortController()
  const running = runActivationHook('sleep 600', slot, stop.signal)
  stop.abort(new Error('the agent stops'))

  await expect(running).rejects.toThrow('the agent stops')
})
