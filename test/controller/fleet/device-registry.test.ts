import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { changeDeviceState, enrolDevice, findDevice, labelDevice } from '../../../controller/fleet/device-registry.ts'
import { loadDevices, loadProfile } from '../../../controller/fleet/device-view.ts'
import { admitJoinToken, createJoinToken } from '../../../controller/fleet/join-tokens.ts'
import { applyPresence, applyProfile, markAllOffline } from '../../../controller/fleet/presence.ts'
import { openStore } from '../../../controller/store/open-store.ts'
import type { ControllerDatabase } from '../../../controller/store/schema.ts'
import { insertDevice, NOW_MS, presence, profile, SESSION } from './fixtures.ts'

let db: ControllerDatabase
beforeEach(async () => {
  db = await openStore(':memory:')
})
afterEach(() => db.destroy())

const request = { device: 'pi-1', publicKey: 'a'.repeat(43), labels: { site: 'lab' }, agentVersion: '0.1.0' }
const otherKey = { ...request, publicKey: 'b'.repeat(43) }

async function eventKinds() {
  return (await db.selectFrom('events').select('kind').orderBy('id').execute()).map(({ kind }) => kind)
}

describe('enrolment', () => {
  it('waits for an operator, and answers the same to a repeated request', async () => {
    expect(await enrolDevice(db, request, NOW_MS)).toBe('pending')
    expect(await enrolDevice(db, request, NOW_MS)).toBe('pending')

    await changeDeviceState(db, 'pi-1', 'accepted', NOW_MS)

    expect(await enrolDevice(db, request, NOW_MS)).toBe('accepted')
    expect(await eventKinds()).toEqual(['device-enrolled', 'device-accepted'])
  })

  it('turns another key away under an accepted name', async () => {
    await enrolDevice(db, request, NOW_MS)
    await changeDeviceState(db, 'pi-1', 'accepted', NOW_MS)

    expect(await enrolDevice(db, otherKey, NOW_MS)).toBe('rejected')
    expect((await findDevice(db, 'pi-1'))?.public_key).toBe(request.publicKey)
    expect(await eventKinds()).toContain('enrolment-refused')
  })

  it('lets a decommissioned box ask again, and asks the operator again', async () => {
    await enrolDevice(db, request, NOW_MS)
    await changeDeviceState(db, 'pi-1', 'accepted', NOW_MS)
    await changeDeviceState(db, 'pi-1', 'decommissioned', NOW_MS)

    expect(await enrolDevice(db, request, NOW_MS)).toBe('pending')
  })
})

describe('changeDeviceState', () => {
  it('refuses what the state does not allow, and names the way', async () => {
    await enrolDevice(db, request, NOW_MS)

    await expect(changeDeviceState(db, 'pi-1', 'decommissioned', NOW_MS)).rejects.toThrow(/accept or reject it first/)
    await expect(changeDeviceState(db, 'pi-9', 'accepted', NOW_MS)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('does nothing the second time', async () => {
    await enrolDevice(db, request, NOW_MS)
    await changeDeviceState(db, 'pi-1', 'rejected', NOW_MS)
    await changeDeviceState(db, 'pi-1', 'rejected', NOW_MS)

    expect(await eventKinds()).toEqual(['device-enrolled', 'device-rejected'])
  })
})

describe('labels', () => {
  beforeEach(() => insertDevice(db, 'pi-1'))

  const labels = async () => (await loadDevices(db, { id: 'pi-1' }))[0]?.labels

  it('of the operator hide the device’s own of the same key, until they are removed', async () => {
    await applyPresence(db, 'pi-1', presence({ labels: { site: 'lab', rack: '3' } }), NOW_MS)
    await labelDevice(db, 'pi-1', { site: 'roof' }, NOW_MS)
    await applyPresence(db, 'pi-1', presence({ labels: { site: 'lab' } }), NOW_MS)

    expect(await labels()).toEqual({ site: 'roof' })

    await labelDevice(db, 'pi-1', { site: null }, NOW_MS)
    await applyPresence(db, 'pi-1', presence({ labels: { site: 'lab' } }), NOW_MS)

    expect(await labels()).toEqual({ site: 'lab' })
  })

  it('refuse the names of facts, and removal of what the operator has not set', async () => {
    await applyPresence(db, 'pi-1', presence({ labels: { rack: '3' } }), NOW_MS)

    await expect(labelDevice(db, 'pi-1', { arch: 'x64' }, NOW_MS)).rejects.toThrow(/"arch" is measured/)
    await expect(labelDevice(db, 'pi-1', { rack: null }, NOW_MS)).rejects.toThrow(/no operator label "rack"/)
  })
})

describe('presence', () => {
  beforeEach(() => insertDevice(db, 'pi-1', { online: 0 }))

  const online = async () => (await findDevice(db, 'pi-1'))?.online

  it('ignores the will of a session that is not the current one', async () => {
    await applyPresence(db, 'pi-1', presence({ session: 'session-old' }), NOW_MS)
    await applyPresence(db, 'pi-1', presence({ session: 'session-new' }), NOW_MS)

    expect(await applyPresence(db, 'pi-1', presence({ online: false, session: 'session-old' }), NOW_MS)).toBe('ignored')
    expect(await online()).toBe(1)
    expect(await applyPresence(db, 'pi-1', presence({ online: false, session: 'session-new' }), NOW_MS)).toBe('offline')
    expect(await online()).toBe(0)
  })

  it('ignores devices that are not accepted', async () => {
    await insertDevice(db, 'pi-2', { state: 'pending', online: 0 })

    expect(await applyPresence(db, 'pi-2', presence(), NOW_MS)).toBe('ignored')
    expect(await applyPresence(db, 'nobody', presence(), NOW_MS)).toBe('ignored')
  })

  it('is unknown after a restart of the controller', async () => {
    await applyPresence(db, 'pi-1', presence(), NOW_MS)
    await markAllOffline(db)

    expect(await online()).toBe(0)
    expect(await applyPresence(db, 'pi-1', presence({ session: SESSION }), NOW_MS)).toBe('online')
  })
})

describe('profiles', () => {
  beforeEach(() => insertDevice(db, 'pi-1'))

  it('keep a short history, newest last, and nothing for a repetition', async () => {
    await applyProfile(db, 'pi-1', profile(), NOW_MS)
    await applyProfile(db, 'pi-1', profile(), NOW_MS)
    for (let temperatureC = 50; temperatureC < 70; temperatureC += 1)
      await applyProfile(db, 'pi-1', profile({ temperatureC }), NOW_MS)

    const { count } = await db
      .selectFrom('profiles')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    expect(count).toBe(10)
    expect((await loadProfile(db, 'pi-1'))?.temperatureC).toBe(69)
    expect(await loadDevices(db)).toMatchObject([{ architecture: 'arm64', hardwareClass: 'a72-0123456789ab' }])
  })
})

describe('join tokens', () => {
  const token = { id: 't1', secretHash: 'h1', expiresAtMs: NOW_MS + 1000, maxUses: 2 }

  it('serve so many devices, the same one as often as it comes, until they expire', async () => {
    await createJoinToken(db, token, NOW_MS)

    expect(await admitJoinToken(db, 'h1', 'pi-1', NOW_MS)).toBe(true)
    expect(await admitJoinToken(db, 'h1', 'pi-1', NOW_MS)).toBe(true)
    expect(await admitJoinToken(db, 'h1', 'pi-2', NOW_MS)).toBe(true)
    expect(await admitJoinToken(db, 'h1', 'pi-3', NOW_MS)).toBe(false)
    expect(await admitJoinToken(db, 'h1', 'pi-1', NOW_MS + 1000)).toBe(false)
    expect(await admitJoinToken(db, 'other', 'pi-1', NOW_MS)).toBe(false)
  })
})
