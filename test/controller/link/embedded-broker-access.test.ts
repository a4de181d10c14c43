import { formatTopic } from '@edgefit/shared/protocol'
import { createJoinSecret, hashJoinSecret } from '@edgefit/shared/trust'
import { describe, expect, it } from 'vitest'
import { aWhile, until } from '../../support/link.ts'
import { closed, connected, down, fleet, messagesOf, startBrokerScene, up } from './support/broker-scene.ts'

describe('access', () => {
  it.each([
    ['the topics of another device', up('pi-b')],
    ['its own down topics', down('pi-a')],
    ['the presence of the controller', formatTopic({ kind: 'controller', fleet })],
  ])('is refused to a device that publishes to %s: it is cut off, nothing gets through', async (_, topic) => {
    const { device, controller } = await startBrokerScene()
    const watcher = await controller()
    const messages = messagesOf(watcher)
    await watcher.subscribeAsync('edgefit/#')
    const client = await device('pi-a')
    const gone = closed(client)

    client.publish(topic, 'forged', { qos: 1, retain: true }, () => undefined)
    await gone
    await aWhile()

    expect(messages).toEqual([])
  })

  it('is refused to a device that subscribes to what goes to another', async () => {
    const { device, controller } = await startBrokerScene()
    const watcher = await controller()
    const client = await device('pi-a')
    const messages = messagesOf(client)

    for (const topic of [down('pi-b'), up('pi-b'), 'edgefit/#', `edgefit/v1/${fleet}/d/+/down/desired`])
      await expect(client.subscribeAsync(topic)).rejects.toThrow()
    await client.subscribeAsync(down('pi-a'))
    await watcher.publishAsync(down('pi-b'), 'for b', { qos: 1 })
    await watcher.publishAsync(down('pi-a'), 'for a', { qos: 1 })
    await until(() => messages.length > 0, 'a hears its own')

    expect(messages).toEqual([`${down('pi-a')}: for a`])
  })

  it('is refused to a will on a topic of another', async () => {
    const { device, controller } = await startBrokerScene()
    const watcher = await controller()
    const messages = messagesOf(watcher)
    await watcher.subscribeAsync('edgefit/#')
    const forger = await device('pi-a', {
      will: { topic: up('pi-b'), payload: Buffer.from('gone'), qos: 1, retain: true },
    })
    const honest = await device('pi-c', {
      will: { topic: up('pi-c'), payload: Buffer.from('gone'), qos: 1, retain: true },
    })

    forger.stream.destroy()
    honest.stream.destroy()
    await until(() => messages.length > 0, 'the honest will')
    await aWhile()

    expect(messages).toEqual([`${up('pi-c')}: gone`])
  })

  it('is refused to a candidate beyond its own enrolment topics', async () => {
    const { directory, open } = await startBrokerScene()
    const secret = createJoinSecret()
    directory.tokenHashes.add(hashJoinSecret(secret))
    const client = await connected(open({ clientId: 'enrol:pi-a', username: 'enrol', password: secret }))

    await expect(client.subscribeAsync(down('pi-a'))).rejects.toThrow()
    await expect(client.subscribeAsync(`edgefit/v1/${fleet}/e/pi-b/down/enrol`)).rejects.toThrow()
    await expect(client.subscribeAsync(`edgefit/v1/${fleet}/e/pi-a/down/enrol`)).resolves.toBeDefined()
    const gone = closed(client)
    client.publish(up('pi-a'), 'too early', { qos: 1 }, () => undefined)
    await gone
  })

  it('ends when the operator takes it away', async () => {
    const { broker, device } = await startBrokerScene()
    const client = await device('pi-a')
    const gone = closed(client)

    await broker.disconnect('pi-a')
    await gone

    await expect(broker.disconnect('pi-unknown')).resolves.toBeUndefined()
  })
})
