import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Profile } from '@edgefit/shared/model'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createProfileCache } from '../../../agent/profile/profile-cache.ts'
import { type AgentDatabase, openAgentDatabase } from '../../../agent/store/database.ts'

const profile: Profile = {
  hardwareClass: 'x64-0123456789ab',
  cpu: {
    architecture: 'x64',
    model: 'a CPU',
    features: [],
    cores: [{ kind: 'cpu', count: 1, maxMhz: null }],
    logicalCores: 1,
    cachesBytes: { l1d: null, l2: null, l3: null },
  },
  memoryBytes: 1,
  os: { name: 'a system', kernel: '6', libc: 'glibc' },
  limits: { cpus: 1, memoryBytes: null, source: 'none' },
  governor: null,
  temperatureC: null,
  runtimeVersion: '1',
  agentVersion: '1',
  measured: null,
}

let folder: string
let database: AgentDatabase
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-profile-'))
  database = await openAgentDatabase(join(folder, 'state.db'))
})
afterEach(async () => {
  await database.destroy()
  await rm(folder, { recursive: true, force: true })
})

/** A measurement that ends when it is told to, or with its signal. */
function slowMeasurement() {
  let finish: () => void = () => undefined
  let count = 0
  const measure = (signal: AbortSignal) =>
    new Promise<Profile>((resolve, reject) => {
      count += 1
      finish = () => resolve(profile)
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
  return { measure, finish: () => finish(), count: () => count }
}

it('lets one caller go without ending the measurement that another waits for', async () => {
  const { measure, finish, count } = slowMeasurement()
  const cache = createProfileCache(database, 'boot 1', measure, new AbortController().signal)
  const hasty = new AbortController()
  const first = cache.get(hasty.signal)
  const second = cache.get(new AbortController().signal)
  await expect.poll(count).toBe(1)

  hasty.abort(new Error('its goal was replaced'))

  await expect(first).rejects.toThrow('its goal was replaced')
  finish()
  expect(await second).toEqual(profile)
  expect(cache.current()).toEqual(profile)
})

it('ends with the agent', async () => {
  const { measure, count } = slowMeasurement()
  const lifetime = new AbortController()
  const waiting = createProfileCache(database, 'boot 1', measure, lifetime.signal).get(new AbortController().signal)
  await expect.poll(count).toBe(1)

  lifetime.abort(new Error('the agent stops'))

  await expect(waiting).rejects.toThrow('the agent stops')
})

it('measures once per key, over restarts of the agent too', async () => {
  let count = 0
  const measure = () => {
    count += 1
    return Promise.resolve(profile)
  }
  const signal = new AbortController().signal

  for (const key of ['boot 1', 'boot 1', 'boot 2', 'boot 2']) {
    await createProfileCache(database, key, measure, signal).get(signal)
  }

  expect(count).toBe(2)
})
