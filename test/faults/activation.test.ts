import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '@edgefit/shared/stats'
import { InferenceSession } from 'onnxruntime-node'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openSlotStore } from '../../agent/deploy/slots.ts'

const ROUNDS = 20
const script = fileURLToPath(new URL('../support/activate-forever.ts', import.meta.url))
const models = ['../fixtures/breast-cancer/model.onnx', '../../deploy/demo/data/fashion-mobilenetv2.onnx'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
)

let state: string
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'edgefit-activation-'))
})
afterEach(() => rm(state, { recursive: true, force: true }))

it(`leaves a loadable model with its own runtime.json after each of ${ROUNDS} kills at any moment`, async () => {
  const random = seededRandom(7)
  const served = new Set<string>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const child = spawn(process.execPath, ['--import', 'tsx', '--conditions=source', script, state, ...models], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    await sleep(random() * 120)
    child.kill('SIGKILL')
    await once(child, 'exit')

    const active = await (await openSlotStore(state)).active('main')
    if (active === undefined) continue
    const digest = active.runtime?.variant.digest ?? 'a runtime.json that cannot be read'
    const bytes = await readFile(join(state, 'active', 'main', 'model.onnx'))
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(digest)
    if (!served.has(digest)) await (await InferenceSession.create(bytes)).release()
    served.add(digest)
  }

  expect(served.size).toBe(2)
})
