import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadIdentity, saveIdentity } from '../../agent/link/identity.ts'
import { findDevice } from '../../controller/fleet/device-registry.ts'
import { aWhile, temporaryFolder, until } from '../support/link.ts'
import { CONTROLLER_USER, hasMosquitto, type SecureMosquitto, startSecureMosquitto } from '../support/mosquitto.ts'
import {
  enrolAndAccept,
  notice,
  noticesIn,
  openFleetState,
  secret,
  startController,
  startDevice,
} from './support/fleet-link.ts'

describe.runIf(hasMosquitto)('a device and its controller over Mosquitto', () => {
  async function scene() {
    const folder = await temporaryFolder()
    const mosquitto = await startSecureMosquitto(folder)
    await mosquitto.setPassword('enrol', secret)
    const { db, directory } = await openFleetState()
    const { authority, url } = mosquitto
    const { username, password } = CONTROLLER_USER
    const external = url.replace('://', `://${username}:${password}@`)
    const controller = await startController(db, directory, { kind: 'external', url: external, ca: authority.ca })
    const stateDir = join(folder, 'state')
    const device = await enrolAndAccept(stateDir, db, controller, { brokerUrl: url, ca: authority.ca })
    return { mosquitto, db, directory, external, controller, stateDir, device }
  }

  async function withPassword({ setPassword }: SecureMosquitto, stateDir: string): Promise<void> {
    const identity = await loadIdentity(stateDir)
    await setPassword(identity.deviceId, 'device-password')
    const signIn = { kind: 'password', username: identity.deviceId, password: 'device-password' } as const
    await saveIdentity(stateDir, { ...identity, signIn })
  }

  async function withCertificate({ authority, certificateUrl }: SecureMosquitto, stateDir: string): Promise<void> {
    const identity = await loadIdentity(stateDir)
    const signIn = { kind: 'certificate', ...authority.issue(identity.deviceId) } as const
    await saveIdentity(stateDir, { ...identity, brokerUrl: certificateUrl, signIn })
  }

  it.each([
    ['a password', withPassword],
    ['a client certificate', withCertificate],
  ] as const)('signs in with %s, gets its goal and has its reports committed', async (_, letIn) => {
    const { mosquitto, db, stateDir, device } = await scene()
    await letIn(mosquitto, stateDir)

    const { outbox, outcomes } = await startDevice(stateDir)
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => outcomes.length > 0, 'the goal arrives')

    expect(await noticesIn(db)).toEqual([1])
    expect(await findDevice(db, device)).toMatchObject({ online: 1 })
  })

  it('finds together again after the broker was restarted and has forgotten everything', async () => {
    const { mosquitto, db, stateDir, controller } = await scene()
    await withPassword(mosquitto, stateDir)
    const { outbox, outcomes } = await startDevice(stateDir)
    await until(() => outcomes.length === 1, 'the first goal')
    const answered = controller.answers.length

    await mosquitto.restart()
    await outbox.add(notice('1'))
    await until(async () => (await outbox.pending(1)).length === 0, 'the report is acknowledged')
    await until(() => controller.answers.length > answered, 'its birth is answered again')

    expect(await noticesIn(db)).toEqual([1])
  })

  it('takes what the broker remembers for what it is: no birth, no answer', async () => {
    const { mosquitto, db, directory, external, stateDir, device, controller } = await scene()
    await withPassword(mosquitto, stateDir)
    const { session } = await startDevice(stateDir)
    await until(() => session.state.kind === 'connected', 'it is connected')
    await until(async () => (await findDevice(db, device))?.online === 1, 'it is online')
    await controller.link.stop()
    await db.updateTable('devices').set({ online: 0, session: null }).execute()
    await session.stop()

    const { ca } = mosquitto.authority
    const second = await startController(db, directory, { kind: 'external', url: external, ca })
    await aWhile()

    expect(second.answers).toEqual([])
    expect(await findDevice(db, device)).toMatchObject({ online: 0 })
  })
})
