import type { MqttClient } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { startEmbeddedBroker } from '../../../controller/link/embedded-broker.ts'
import {
  certificateAuthority,
  memoryDirectory,
  readCertificate,
  silentLog,
  temporaryFolder,
} from '../../support/link.ts'
import { connected, deviceOptions, fleet, loopback, startBrokerScene } from './support/broker-scene.ts'

describe('TLS', () => {
  it('serves those who know the CA, and only those; a renewed certificate is used at once', async () => {
    const authority = await certificateAuthority(await temporaryFolder())
    const issue = (name: string) => readCertificate(authority.issue(name))
    const { broker, directory, open } = await startBrokerScene({ certificate: await issue('old') })
    const key = directory.add('pi-a')

    await expect(connected(open(await deviceOptions('pi-a', key)))).rejects.toThrow(/self-signed|unable to/)
    const first = await connected(open({ ...(await deviceOptions('pi-a', key)), ca: authority.ca }))
    broker.renewCertificate(await issue('new'))
    const second = await connected(open({ ...(await deviceOptions('pi-a', key)), ca: authority.ca }))

    expect(commonName(first)).toBe('old')
    expect(commonName(second)).toBe('new')
    expect(broker.tcpPort).toBeUndefined()
  })
})

function commonName(client: MqttClient): unknown {
  const { stream } = client
  if (!('getPeerCertificate' in stream) || typeof stream.getPeerCertificate !== 'function') return undefined
  return stream.getPeerCertificate().subject.CN
}

describe('startEmbeddedBroker', () => {
  it('refuses a certificate that does not go with its key', async () => {
    const authority = await certificateAuthority(await temporaryFolder())
    const { certFile } = authority.issue('one')
    const { keyFile } = authority.issue('other')
    const tls = { ...loopback, ...(await readCertificate({ certFile, keyFile })) }

    await expect(
      startEmbeddedBroker({ fleet, tls, directory: memoryDirectory(), now: Date.now, log: silentLog }),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('belong together') })
  })

  it('names the port that is taken', async () => {
    const { broker, directory } = await startBrokerScene()
    const taken = { host: '127.0.0.1', port: Number(broker.tcpPort) }

    await expect(
      startEmbeddedBroker({ fleet, tcp: taken, directory, now: Date.now, log: silentLog }),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(`127.0.0.1:${taken.port}`) })
  })
})
