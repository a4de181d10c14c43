import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openArtifactStore } from '@edgefit/shared/artifact'
import type { DeploymentGoal, StatusReport } from '@edgefit/shared/protocol'
import { decodeJoinToken, loadOrCreateSigningKey } from '@edgefit/shared/trust'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createDesiredGate, type DesiredOutcome } from '../../agent/link/desired.ts'
import { downloadArtifact } from '../../agent/link/download.ts'
import { enrol } from '../../agent/link/enrol.ts'
import { deviceKeyPath, loadIdentity } from '../../agent/link/identity.ts'
import { createOutbox, type Outbox } from '../../agent/link/outbox.ts'
import { createSession, type Session } from '../../agent/link/session.ts'
import { openAgentDatabase } from '../../agent/store/database.ts'
import type { Controller } from '../../controller/controller.ts'
import { openStore } from '../../controller/store/open-store.ts'
import { openScene, type Scene, SOON } from '../controller/api/scene.ts'
import { digest, measurement, profile, status, trial } from '../controller/fleet/fixtures.ts'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../support/breast-cancer.ts'
import { silentLog, until } from '../support/link.ts'

/** A box that has the agent's real link and journal, and whose work the test does by hand. */
interface Box {
  readonly id: string
  readonly stateDir: string
  readonly session: Session
  readonly outbox: Outbox
  readonly outcomes: DesiredOutcome[]
  /** The newest goal of a slot. */
  goal(slot?: string): DeploymentGoal | undefined
  tell(overrides: Partial<StatusReport>): Promise<void>
  /** Resolves once the controller has acknowledged everything. */
  heard(): Promise<void>
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-box-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function openBox(scene: Scene, name: string): Promise<Box> {
  const stateDir = await temporaryFolder()
  const { token } = await scene.client.call('token.create', { lifeS: 3600 }, SOON)
  const request = {
    token,
    deviceName: name,
    stateDir,
    labels: { site: 'lab' },
    agentVersion: '0.1.0',
    wait: false,
    now: Date.now,
    random: Math.random,
    log: silentLog,
  }
  const { deviceId, state } = await enrol(request, SOON)
  expect(state).toBe('pending')
  await scene.client.call('device.accept', { devices: [deviceId] }, SOON)

  const { session, outbox, outcomes } = await startSession(stateDir, stateDir)
  await until(() => session.state.kind === 'connected', `${name} connects`)

  const goal = (slot = 'default') => {
    const last = outcomes.at(-1)
    return last?.kind === 'accepted' ? last.state.slots[slot] : undefined
  }
  return {
    id: deviceId,
    stateDir,
    session,
    outbox,
    outcomes,
    goal,
    async tell(overrides) {
      const current = goal()
      await outbox.add(
        status({
          ...(current && { deploymentId: current.deploymentId, attempt: current.attempt }),
          ...overrides,
        }),
      )
    },
    heard: () => until(async () => (await outbox.pending(1)).length === 0, `${name} is heard`),
  }
}

/** An agent's link with the identity in one folder and its journal in another. */
async function startSession(
  stateDir: string,
  journalDir: string,
): Promise<Pick<Box, 'session' | 'outbox' | 'outcomes'>> {
  const db = await openAgentDatabase(join(journalDir, 'state.db'))
  const identity = await loadIdentity(stateDir)
  const outbox = await createOutbox(db, { now: Date.now })
  const session = createSession({
    identity,
    key: await loadOrCreateSigningKey(deviceKeyPath(stateDir)),
    agentVersion: '0.1.0',
    outbox,
    desired: createDesiredGate({ db, identity, now: Date.now }),
    profile: () => profile(),
    now: Date.now,
    random: Math.random,
    log: silentLog,
    timing: {
      reconnect: { baseMs: 20, capMs: 100 },
      resend: { baseMs: 50, capMs: 100 },
      stableAfterMs: 60_000,
      announceWithinMs: 20,
      clockPollMs: 5,
    },
  })
  const outcomes: DesiredOutcome[] = []
  session.onDesired((outcome) => {
    outcomes.push(outcome)
    return Promise.resolve()
  })
  onTestFinished(async () => {
    await session.stop()
    await db.destroy()
  })
  session.start()
  return { session, outbox, outcomes }
}

async function publish(scene: Scene): Promise<void> {
  const npz = join(await temporaryFolder(), 'data.npz')
  await writeBreastCancerNpz(npz)
  const dataset = await scene.client.upload(npz, () => undefined, SOON)
  await scene.client.call('dataset.publish', { name: 'tumours', upload: dataset }, SOON)
  const model = await scene.client.upload(BREAST_CANCER_MODEL, () => undefined, SOON)
  await scene.client.call('model.publish', { name: 'tumour', upload: model, task: { kind: 'classification' } }, SOON)
}

const goalOf = (overrides: object = {}) => ({
  model: 'tumour',
  dataset: 'tumours',
  selector: 'site=lab',
  objective: { latencyP90Ms: 10, accuracy: { kind: 'relative' as const, value: 0.9 } },
  ...overrides,
})

const done = { status: 'succeeded', phase: null, reason: 'objective-met', outcome: 'activated' } as const

async function restart(scene: Scene, controller: Controller): Promise<Controller> {
  const mqttPort = Number(new URL(controller.brokerUrl).port)
  await controller.stop()
  return await scene.start({ broker: { kind: 'embedded', host: '127.0.0.1', mqttPort } })
}

describe('a controller and a box', () => {
  it('tells when a second box uses the identity of the first', async () => {
    const scene = await openScene()
    await scene.start()
    const box = await openBox(scene, 'kiosk')
    const duplicated = async () => {
      const { events } = await scene.client.call('event.list', { subject: `device:${box.id}` }, SOON)
      return events.filter(({ kind }) => kind === 'device-duplicated')
    }

    await startSession(box.stateDir, await temporaryFolder())

    await until(async () => (await duplicated()).length > 0, 'the clone is noticed')
    expect((await duplicated())[0]).toMatchObject({ actor: 'controller', data: { remedy: expect.any(String) } })
  })

  it('go from a join token to a fitted model', async () => {
    const scene = await openScene()
    await scene.start()
    await publish(scene)
    const box = await openBox(scene, 'kiosk')
    await until(async () => {
      const { device, profile: known } = await scene.client.call('device.show', { device: box.id }, SOON)
      return device.online && device.architecture === 'arm64' && known !== null
    }, 'the box is known')

    const { rollout } = await scene.client.call('rollout.create', goalOf(), SOON)
    await until(() => box.goal()?.rolloutId === rollout.id, 'the goal arrives')

    const goal = box.goal()!
    const store = await openArtifactStore(join(await temporaryFolder(), 'artifacts'))
    const options = { ref: goal.model.artifact, store, channel: box.session.chunks, now: Date.now, random: Math.random }
    const { path } = await downloadArtifact(options, () => undefined, SOON)
    expect(await readFile(path)).toEqual(await readFile(BREAST_CANCER_MODEL))

    await box.tell({ phase: 'searching', progress: { trialsDone: 2, trialsPlanned: 5 } })
    await box.heard()
    const watched = await scene.client.call('rollout.show', { rollout: rollout.id }, SOON)
    expect(watched.rollout.targets).toMatchObject([{ phase: 'searching', progress: { trialsDone: 2 } }])

    const { deploymentId, attempt } = goal
    await box.outbox.add({ kind: 'trial', deploymentId, attempt, trial: trial(0) })
    await box.outbox.add({
      kind: 'result',
      deploymentId,
      attempt,
      verdict: 'met',
      baseline: measurement(),
      winner: { trialId: 0, digest: digest(7), measurement: measurement() },
      losses: {},
      reasons: ['p90 5.2 ms'],
    })
    await box.tell({ ...done, running: digest(7) })
    await until(async () => {
      const shown = await scene.client.call('rollout.show', { rollout: rollout.id }, SOON)
      return shown.rollout.state === 'finished'
    }, 'the rollout finishes')
    const shown = await scene.client.call('rollout.show', { rollout: rollout.id }, SOON)
    expect(shown.rollout.targets).toMatchObject([{ status: 'succeeded', verdict: 'met', running: digest(7) }])
  })

  it('go on where they were when the controller is restarted in the middle', async () => {
    const scene = await openScene()
    const first = await scene.start()
    await publish(scene)
    const box = await openBox(scene, 'kiosk')
    const { rollout } = await scene.client.call('rollout.create', goalOf(), SOON)
    await until(() => box.goal() !== undefined, 'the goal arrives')
    await box.tell({ phase: 'searching' })
    await box.heard()
    const before = box.outcomes.length

    await restart(scene, first)
    await box.tell({ phase: 'staged' })
    await box.heard()
    await until(() => box.outcomes.length > before, 'the birth is answered')

    // The same document as before: nothing has changed.
    expect(box.outcomes.at(-1)).toMatchObject({ kind: 'accepted', changed: false })
    await box.tell(done)
    await until(async () => {
      const shown = await scene.client.call('rollout.show', { rollout: rollout.id }, SOON)
      return shown.rollout.state === 'finished'
    }, 'the rollout finishes')
  })

  it('see a box come and go', async () => {
    const scene = await openScene()
    await scene.start()
    const box = await openBox(scene, 'kiosk')
    const online = async () => (await scene.client.call('device.show', { device: box.id }, SOON)).device.online
    await until(online, 'the box is online')

    await box.session.stop()

    await until(async () => !(await online()), 'the box is offline')
  })

  it('withdraw an aborted rollout, and return to what ran before', async () => {
    const scene = await openScene()
    await scene.start()
    await publish(scene)
    const box = await openBox(scene, 'kiosk')
    const first = await scene.client.call('rollout.create', goalOf(), SOON)
    await until(() => box.goal()?.rolloutId === first.rollout.id, 'the first goal arrives')
    await box.tell(done)
    await box.heard()
    const second = await scene.client.call('rollout.create', goalOf({ search: { seed: 1 } }), SOON)
    await until(() => box.goal()?.rolloutId === second.rollout.id, 'the second goal arrives')

    await scene.client.call('rollout.abort', { rollout: second.rollout.id }, SOON)
    await until(() => box.goal()?.rolloutId === first.rollout.id, 'the first goal is back')

    await scene.client.call('rollout.abort', { rollout: first.rollout.id }, SOON)
    const shown = await scene.client.call('rollout.show', { rollout: first.rollout.id }, SOON)
    expect(shown.rollout).toMatchObject({ state: 'aborted', targets: [{ status: 'succeeded' }] })
  })

  it('part for good when the box is decommissioned', async () => {
    const scene = await openScene()
    await scene.start()
    await publish(scene)
    const box = await openBox(scene, 'kiosk')
    const { rollout } = await scene.client.call('rollout.create', goalOf(), SOON)
    await until(() => box.goal() !== undefined, 'the goal arrives')

    await scene.client.call('device.decommission', { devices: [box.id] }, SOON)

    await until(() => box.session.state.kind === 'connecting' && box.session.state.failures > 1, 'the box is kept out')
    await until(async () => {
      const shown = await scene.client.call('rollout.show', { rollout: rollout.id }, SOON)
      return shown.rollout.state === 'finished' && shown.rollout.targets[0]?.status === 'removed'
    }, 'the rollout ends without it')
  })

  it('agree on goals after the controller was restored from an old backup', async () => {
    const scene = await openScene()
    const first = await scene.start()
    await publish(scene)
    const box = await openBox(scene, 'kiosk')
    for (const seed of [1, 2, 3]) {
      const { rollout } = await scene.client.call('rollout.create', goalOf({ search: { seed } }), SOON)
      await until(() => box.goal()?.rolloutId === rollout.id, 'the goal arrives')
    }
    await first.stop()
    const db = await openStore(join(scene.dataDir, 'fleet.db'))
    await db.updateTable('desired_states').set({ version: 1 }).execute()
    await db.destroy()

    const mqttPort = Number(new URL(first.brokerUrl).port)
    await scene.start({ broker: { kind: 'embedded', host: '127.0.0.1', mqttPort } })
    const { rollout } = await scene.client.call('rollout.create', goalOf({ search: { seed: 4 } }), SOON)

    await until(() => box.goal()?.rolloutId === rollout.id, 'the goal arrives')
  })
})

describe('a join token', () => {
  it('that is used up lets nobody else in', async () => {
    const scene = await openScene()
    await scene.start()
    const { token } = await scene.client.call('token.create', { lifeS: 3600, maxUses: 1 }, SOON)
    const ask = async (deviceName: string) =>
      enrol(
        {
          token,
          deviceName,
          stateDir: await temporaryFolder(),
          labels: {},
          agentVersion: '0.1.0',
          wait: false,
          now: Date.now,
          random: Math.random,
          log: silentLog,
        },
        SOON,
      )

    expect((await ask('first')).state).toBe('pending')
    await expect(ask('second')).rejects.toMatchObject({ code: 'AUTH_REFUSED' })
    expect(decodeJoinToken(token).fleet).toBe('default')
  })
})
