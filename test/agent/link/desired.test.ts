import { type DesiredState, encodeDocument } from '@edgefit/shared/protocol'
import { generateSigningKey, signDocument } from '@edgefit/shared/trust'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createDesiredGate, type DesiredGate } from '../../../agent/link/desired.ts'
import { type AgentDatabase, openAgentDatabase } from '../../../agent/store/database.ts'

const controller = generateSigningKey()
const identity = { fleet: 'lab', deviceId: 'pi-a', controllerKey: controller.publicKey }
const nowMs = 1_800_000_000_000
let db: AgentDatabase
let gate: DesiredGate

beforeEach(async () => {
  const opened = await openAgentDatabase(':memory:')
  onTestFinished(() => opened.destroy())
  db = opened
  gate = createDesiredGate({ db, identity, now: () => nowMs })
})

function desired(over: Partial<DesiredState> = {}): DesiredState {
  return {
    v: 1,
    fleet: 'lab',
    device: 'pi-a',
    version: 5,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + 60_000,
    slots: {},
    ...over,
  }
}
const signed = (over: Partial<DesiredState> = {}, key = controller) =>
  signDocument(key, 'desired', encodeDocument('desired', desired(over)))

describe('the desired-state gate', () => {
  it('lets a goal of the controller pass, once as a change', async () => {
    const jws = await signed()

    expect(await gate.judge(jws)).toEqual({ kind: 'accepted', state: desired(), changed: true })
    expect(await gate.judge(jws)).toEqual({ kind: 'accepted', state: desired(), changed: false })
    expect(await gate.version()).toBe(5)
  })

  it('lets the same goal pass when it is signed anew, as after a controller restart', async () => {
    await gate.judge(await signed())

    expect(await gate.judge(await signed())).toMatchObject({ kind: 'accepted', changed: false })
  })

  it('lets a newer goal pass', async () => {
    await gate.judge(await signed())

    expect(await gate.judge(await signed({ version: 6 }))).toMatchObject({ kind: 'accepted', changed: true })
  })

  it.each<[string, Partial<DesiredState>]>([
    ['an older goal', { version: 4 }],
    ['another goal under the same version', { expiresAtMs: nowMs + 1 }],
  ])('refuses %s, also after a restart', async (_, over) => {
    await gate.judge(await signed())
    const restarted = createDesiredGate({ db, identity, now: () => nowMs })

    expect(await restarted.judge(await signed(over))).toMatchObject({ kind: 'refused', code: 'VERSION_REPLAYED' })
    expect(await restarted.version()).toBe(5)
  })

  it.each<[string, Partial<DesiredState>]>([
    ['another device', { device: 'pi-b' }],
    ['another fleet', { fleet: 'field' }],
  ])('refuses a goal for %s and does not count its version', async (_, over) => {
    expect(await gate.judge(await signed({ ...over, version: 9 }))).toMatchObject({
      kind: 'refused',
      code: 'SIGNATURE_INVALID',
    })
    expect(await gate.version()).toBe(0)
  })

  it('refuses what another key has signed', async () => {
    expect(await gate.judge(await signed({}, generateSigningKey()))).toMatchObject({
      kind: 'refused',
      code: 'SIGNATURE_INVALID',
    })
  })

  it('refuses another document of the controller', async () => {
    const reply = await signDocument(controller, 'enrol-reply', encodeDocument('desired', desired()))

    expect(await gate.judge(reply)).toMatchObject({ kind: 'refused', code: 'SIGNATURE_INVALID' })
  })

  it('refuses what has expired, with some patience for clocks that differ', async () => {
    expect(await gate.judge(await signed({ expiresAtMs: nowMs - 121_000 }))).toMatchObject({
      kind: 'refused',
      code: 'VERSION_REPLAYED',
    })
    expect(await gate.judge(await signed({ expiresAtMs: nowMs - 119_000 }))).toMatchObject({ kind: 'accepted' })
  })

  it('names the deployments of a goal in another protocol version, so that they can be rejected', async () => {
    const slots = { vision: { deploymentId: 'd-1', attempt: 2, steps: 'of a new kind' } }
    const future = Buffer.from(JSON.stringify({ ...desired(), v: 2, slots }))

    expect(await gate.judge(await signDocument(controller, 'desired', future))).toMatchObject({
      kind: 'refused',
      code: 'PROTOCOL_UNSUPPORTED',
      deployments: [{ slot: 'vision', deploymentId: 'd-1', attempt: 2 }],
    })
  })

  it('refuses signed nonsense', async () => {
    const nonsense = await signDocument(controller, 'desired', Buffer.from('{'))

    expect(await gate.judge(nonsense)).toMatchObject({ kind: 'refused', code: 'PROTOCOL_INVALID', deployments: [] })
  })
})
