import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '@edgefit/shared/stats'
import { afterAll, beforeAll, expect, it } from 'vitest'

const SCRIPT = fileURLToPath(new URL('./support/killed-run.ts', import.meta.url))
const UPDATES = 40
const KILLS = 4

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-killed-'))
})
afterAll(() => rm(folder, { recursive: true }))

interface Ran {
  readonly updates: readonly number[]
  /** Of what came of it; undefined where it was killed. */
  readonly digest: string | undefined
}

/** @param killing after this update of this process, and so much later */
async function run(name: string, killing?: { readonly afterUpdates: number; readonly delayMs: number }): Promise<Ran> {
  await mkdir(join(folder, name), { recursive: true })
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--import', import.meta.resolve('tsx'), SCRIPT, join(folder, name)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(child, 'exit')
  const updates: number[] = []
  let digest: string | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    if (!/^\d+$/.test(line)) digest = line
    else if (updates.push(Number(line)) === killing?.afterUpdates) {
      await sleep(killing.delayMs)
      child.kill('SIGKILL')
    }
  }
  const [exitCode, exitSignal] = await ended
  expect(killing === undefined ? exitCode : exitSignal).toBe(killing === undefined ? 0 : 'SIGKILL')
  return { updates, digest }
}

it('goes on after being killed anywhere, again and again, to the very same end', { timeout: 240_000 }, async () => {
  const whole = await run('whole')
  expect(whole.updates).toEqual(Array.from({ length: UPDATES }, (_, at) => at + 1))

  const random = seededRandom(1)
  let reached = 0
  for (let kill = 0; kill < KILLS; kill++) {
    const killing = { afterUpdates: 1 + Math.floor(5 * random()), delayMs: 20 * random() }
    const { updates } = await run('killed', killing)
    // What was told of was in a checkpoint by then.
    expect(updates[0]).toBeGreaterThan(reached)
    reached = updates[killing.afterUpdates - 1] ?? 0
  }
  const resumed = await run('killed')

  expect(resumed.updates[0]).toBeGreaterThan(reached)
  expect(resumed.digest).toBe(whole.digest)
})
