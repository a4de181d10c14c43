import { createJoinSecret, generateSigningKey, hashJoinSecret } from '@edgefit/shared/trust'
import type { IClientOptions } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { type MemoryDirectory, memoryDirectory } from '../../support/link.ts'
import { closed, connected, deviceOptions, startBrokerScene } from './support/broker-scene.ts'

describe('signing in', () => {
  it('is open to an accepted device with a fresh token of its key', async () => {
    const { device } = await startBrokerScene()
    await expect(device('pi-a')).resolves.toBeDefined()
  })

  it.each(['pending', 'rejected', 'decommissioned'] as const)('is closed to a %s device', async (state) => {
    const { directory, open } = await startBrokerScene()
    const key = directory.add('pi-a', state)

    await expect(connected(open(await deviceOptions('pi-a', key)))).rejects.toMatchObject({ code: 5 })
  })

  it('is closed to an unknown device', async () => {
    const { open } = await startBrokerScene()
    const options = await deviceOptions('pi-a', generateSigningKey())

    await expect(connected(open(options))).rejects.toMatchObject({ code: 5 })
  })

  it.each<[string, (options: IClientOptions) => IClientOptions]>([
    ['nothing', () => ({ clientId: 'pi-a' })],
    ['a wrong password', (options) => ({ ...options, password: 'guess' })],
    ['the client id of another', (options) => ({ ...options, clientId: 'pi-b' })],
    ['an unknown join secret', () => ({ clientId: 'enrol:pi-a', username: 'enrol', password: createJoinSecret() })],
  ])('is closed to a client with %s', async (_, change) => {
    const { directory, open } = await startBrokerScene()
    const key = directory.add('pi-a')
    directory.add('pi-b')

    await expect(connected(open(change(await deviceOptions('pi-a', key))))).rejects.toMatchObject({
      code: expect.toBeOneOf([4, 5]),
    })
  })

  it('is closed to a token of another key', async () => {
    const { directory, open } = await startBrokerScene()
    directory.add('pi-a')

    await expect(connected(open(await deviceOptions('pi-a', generateSigningKey())))).rejects.toMatchObject({ code: 4 })
  })

  it('takes a token once', async () => {
    const { directory, open } = await startBrokerScene()
    const options = await deviceOptions('pi-a', directory.add('pi-a'))
    await connected(open(options))

    await expect(connected(open(options))).rejects.toMatchObject({ code: 4 })
  })

  it('is closed to sessions that outlive their connection, which would fill memory', async () => {
    const { directory, open } = await startBrokerScene()
    const options = await deviceOptions('pi-a', directory.add('pi-a'))

    await expect(connected(open({ ...options, clean: false }))).rejects.toThrow()
  })

  it('is closed to clients without a keepalive, which would stay for ever', async () => {
    const { directory, open } = await startBrokerScene()
    const options = await deviceOptions('pi-a', directory.add('pi-a'))

    await expect(connected(open({ ...options, keepalive: 0 }))).rejects.toThrow()
  })

  it('gives a second connection of a device the place of the first', async () => {
    const { directory, open } = await startBrokerScene()
    const key = directory.add('pi-a')
    const first = await connected(open(await deviceOptions('pi-a', key)))
    const gone = closed(first)

    const second = await connected(open(await deviceOptions('pi-a', key)))
    await gone

    expect(second.connected).toBe(true)
  })

  it('lets a candidate use a join secret, under a client id that disturbs no device', async () => {
    const { directory, open, device } = await startBrokerScene()
    const secret = createJoinSecret()
    directory.tokenHashes.add(hashJoinSecret(secret))
    const credentials = { username: 'enrol', password: secret }
    const client = await device('pi-a')

    await expect(connected(open({ ...credentials, clientId: 'pi-a' }))).rejects.toMatchObject({ code: 4 })
    await expect(connected(open({ ...credentials, clientId: 'enrol:pi-a' }))).resolves.toBeDefined()
    expect(client.connected).toBe(true)
  })

  it('ends the connection of a device that left the fleet while it signed in', async () => {
    const directory = memoryDirectory()
    const key = directory.add('pi-leaving')
    let lookUps = 0
    const changing: MemoryDirectory = {
      ...directory,
      async findIdentity(device) {
        const identity = await directory.findIdentity(device)
        lookUps += 1
        return identity && lookUps > 1 ? { ...identity, state: 'decommissioned' } : identity
      },
    }
    const { open } = await startBrokerScene({ directory: changing })

    const client = open(await deviceOptions('pi-leaving', key))

    await closed(client)
    expect(lookUps).toBe(2)
  })
})
