import { join } from 'node:path'
import { decodeJoinToken } from '@edgefit/shared/trust'
import { expect, it, onTestFinished } from 'vitest'
import { enrol } from '../../agent/link/enrol.ts'
import { createClient } from '../../controller/api/client.ts'
import { type Controller, startController } from '../../controller/controller.ts'
import { silentLog, temporaryFolder } from '../support/link.ts'

it('a controller asked for TLS needs no certificate: its join tokens carry the CA it keeps over restarts', async () => {
  const folder = await temporaryFolder()
  const dataDir = join(folder, 'data')
  const client = createClient({
    socketPath: join(dataDir, 'controller.sock'),
    storePath: join(dataDir, 'fleet.db'),
    now: Date.now,
  })
  const signal = AbortSignal.timeout(60_000)
  let running: Controller | undefined
  async function start(port: number): Promise<Controller> {
    const broker = { kind: 'embedded', host: '127.0.0.1', tls: { port } } as const
    running = await startController({ dataDir, fleet: 'lab', broker, log: silentLog })
    return running
  }
  onTestFinished(() => running?.stop())
  const ask = (token: string) =>
    enrol(
      {
        token,
        deviceName: 'pi',
        stateDir: join(folder, 'state'),
        labels: {},
        agentVersion: '0.1.0',
        wait: false,
        now: Date.now,
        random: Math.random,
        log: silentLog,
      },
      signal,
    )

  const first = await start(0)
  const { token } = await client.call('token.create', { lifeS: 3600, maxUses: 1 }, signal)
  const pending = await ask(token)
  await client.call('device.accept', { devices: [pending.deviceId] }, signal)
  await first.stop()
  await start(Number(new URL(first.brokerUrl).port))
  const accepted = await ask(token)

  expect(first.brokerUrl).toMatch(/^mqtts:\/\/127\.0\.0\.1:/)
  expect(decodeJoinToken(token).ca).toMatch(/^-----BEGIN CERTIFICATE-----/)
  expect([pending.state, accepted.state]).toEqual(['pending', 'accepted'])
})
