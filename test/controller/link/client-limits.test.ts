import net from 'node:net'
import { formatTopic } from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'
import { aWhile, certificateAuthority, readCertificate, temporaryFolder, until } from '../../support/link.ts'
import { closed, down, fleet, messagesOf, startBrokerScene, up } from './support/broker-scene.ts'

describe('limits', () => {
  it('cut off a device that announces an oversized message, before its bytes pile up', async () => {
    const { device } = await startBrokerScene()
    const client = await device('pi-a')
    const gone = closed(client)
    const announcedBytes = Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f])

    client.stream.write(Buffer.concat([announcedBytes, Buffer.alloc(64)]))
    await gone
  })

  it('cut off a stranger whose CONNECT is longer than any good one', async () => {
    const { broker } = await startBrokerScene()
    const socket = net.connect(Number(broker.tcpPort), '127.0.0.1')
    socket.on('error', () => undefined)

    socket.write(Buffer.from([0x10, 0x80, 0x80, 0x01, 0x00, 0x04]))

    await new Promise((resolve) => socket.once('close', resolve))
  })

  it.each([
    ['report', true],
    ['fetch', true],
    ['presence', false],
    ['profile', false],
  ] as const)('on what it remembers: a retained %s cuts the device off: %s', async (channel, isCutOff) => {
    const { device } = await startBrokerScene()
    const client = await device('pi-a')
    let isOver = false
    client.once('close', () => {
      isOver = true
    })

    client.publish(formatTopic({ kind: 'up', fleet, device: 'pi-a', channel }), 'x', { qos: 1, retain: true })
    await aWhile()

    expect(isOver).toBe(isCutOff)
  })

  it('let the largest legal message pass', async () => {
    const { device, controller } = await startBrokerScene()
    const watcher = await controller()
    const sizes: number[] = []
    watcher.on('message', (_, payload) => sizes.push(payload.length))
    await watcher.subscribeAsync(up('pi-a'))
    const client = await device('pi-a')

    await client.publishAsync(up('pi-a'), Buffer.alloc(128 * 1024), { qos: 1 })
    await until(() => sizes.length > 0, 'the message arrives')

    expect(sizes).toEqual([128 * 1024])
  })
})

describe('a device that stops reading', () => {
  const chunkTopic = formatTopic({ kind: 'chunks', fleet, artifact: 'a'.repeat(64), span: 0 })
  const chunk = Buffer.alloc(64 * 1024)
  const rounds = 400 // 25 MiB, more than sockets and the limit hold

  it.each(['tcp', 'tls'] as const)('holds up nobody else over %s, and only loses chunks', async (transport) => {
    const { ca, issue } = await certificateAuthority(await temporaryFolder())
    const certificate = { certificate: await readCertificate(issue('broker')) }
    const { device, controller } = await startBrokerScene(transport === 'tls' ? certificate : {})

    const watcher = await controller()
    const frozen = await device('pi-frozen', { ca })
    const heard: string[] = []
    frozen.on('message', (topic) => heard.push(topic))
    await frozen.subscribeAsync([chunkTopic, down('pi-frozen')])
    const other = await device('pi-other', { ca })
    const messages = messagesOf(other)
    await other.subscribeAsync(down('pi-other'), { qos: 1 })
    frozen.stream.pause()

    for (let round = 0; round < rounds; round += 1) {
      await watcher.publishAsync(chunkTopic, chunk)
      await watcher.publishAsync(down('pi-other'), `${round}`, { qos: 1 })
    }
    await until(() => messages.length === rounds, 'the other device hears all')
    await watcher.publishAsync(down('pi-frozen'), 'awake?', { qos: 1 })
    frozen.stream.resume()

    // Had a write waited for the frozen device, it would have been cut off to let the others go on.
    await until(() => heard.includes(down('pi-frozen')), 'the frozen device reads on where it stopped')
    expect(heard.length).toBeLessThan(rounds)
  })
})
