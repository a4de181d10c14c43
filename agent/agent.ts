import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describeFailure, EdgefitError } from '@edgefit/shared'
import { openArtifactStore } from '@edgefit/shared/artifact'
import type { Profile } from '@edgefit/shared/model'
import type { ReportBody } from '@edgefit/shared/protocol'
import { importSigningKey, readIfPresent, type SigningKey } from '@edgefit/shared/trust'
import type { Logger } from 'pino'
import { sqliteDeploymentStore } from './deploy/deployment-store.ts'
import { createDeviceWork } from './deploy/device-work.ts'
import { refusedReports } from './deploy/failure.ts'
import { isWindowOpen } from './deploy/maintenance-window.ts'
import { rebenchmark } from './deploy/rebenchmark.ts'
import { runDeployment } from './deploy/run-deployment.ts'
import { createSchedule } from './deploy/schedule.ts'
import { openSlotStore } from './deploy/slots.ts'
import { createSupervisor, type RunSlot } from './deploy/supervisor.ts'
import { createDesiredGate } from './link/desired.ts'
import { downloadArtifact } from './link/download.ts'
import { deviceKeyPath, loadIdentity } from './link/identity.ts'
import { createOutbox } from './link/outbox.ts'
import { createSession } from './link/session.ts'
import type { JobRunner } from './measure/runner.ts'
import { createProfileCache } from './profile/profile-cache.ts'
import type { LabLimits } from './search/child-lab.ts'
import { sqliteStudyStore } from './search/study-store.ts'
import { openOrReplaceAgentDatabase } from './store/database.ts'
import { lockState } from './store/state-lock.ts'
import { AGENT_VERSION } from './version.ts'

export interface AgentOptions {
  readonly stateDir: string
  readonly runner: JobRunner
  readonly profileKey: string
  readonly measureProfile: (signal: AbortSignal) => Promise<Profile>
  readonly limits: LabLimits
  readonly onActivate: string | undefined
  readonly now: () => number
  readonly monotonicNow: () => number
  readonly random: () => number
  readonly log: Logger
}

export interface Agent {
  /** Stops in order: what is under way goes on at the next start. */
  stop(): Promise<void>
}

const WINDOW_POLL_MS = 20_000

/** The composition root: the only place that knows every part. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { stateDir, runner, limits, now, monotonicNow, random, log } = options
  const identity = await loadIdentity(stateDir)
  const key = await loadDeviceKey(stateDir)
  const lock = lockState(stateDir)
  const { database, replaced } = await openOrReplaceAgentDatabase(join(stateDir, 'state.db'))
  const artifacts = await openArtifactStore(join(stateDir, 'artifacts'))
  const slots = await openSlotStore(stateDir)
  const stopping = new AbortController()

  const outbox = await createOutbox(database, { now })
  const report = async (body: ReportBody) => void (await outbox.add(body))
  if (replaced !== undefined) {
    log.error({ why: replaced }, 'the journal could not be used: a new one is begun')
    await report({ kind: 'notice', code: 'journal-replaced', message: replaced.slice(0, 4000) })
  }
  const profiles = createProfileCache(database, options.profileKey, options.measureProfile, stopping.signal)
  const desired = createDesiredGate({ db: database, identity, now })
  const session = createSession({
    identity,
    key,
    agentVersion: AGENT_VERSION,
    outbox,
    desired,
    profile: profiles.current,
    now,
    random,
    log,
  })

  const profile = async (signal: AbortSignal) => {
    const before = profiles.current()
    const current = await profiles.get(signal)
    if (before === undefined) await session.announceProfile()
    return current
  }
  const work = createDeviceWork({
    stateDir,
    artifacts,
    slots,
    studies: sqliteStudyStore(database),
    runner,
    limits,
    profile,
    async fetch(ref, onBytes, signal) {
      const options = { ref, store: artifacts, channel: session.chunks, now, random }
      const {
        pull: _pull,
        path: _path,
        ...done
      } = await downloadArtifact(options, ({ bytesDone }) => onBytes(bytesDone), signal)
      log.info({ artifact: ref.digest, ...done }, 'artifact complete')
    },
    onActivate: options.onActivate,
    now,
    monotonicNow,
  })

  const store = sqliteDeploymentStore(database, now)
  const runSlot: RunSlot = async ({ slot, goal, record }, signal) => {
    const ports = {
      work,
      save: (next: typeof record) => store.put({ slot, goal, record: next }),
      report,
      reportProgress: (body: ReportBody) => {
        report(body).catch((error: unknown) => log.warn({ err: error, slot }, 'progress not journalled'))
      },
      windowOpen: () => isWindowOpen(goal.schedule.maintenance, now()),
      monotonicNow,
      windowPollMs: WINDOW_POLL_MS,
    }
    const end = await runDeployment(slot, goal, record, ports, signal)
    log.info(
      { slot, deployment: goal.deploymentId, status: end.terminal?.status, reason: end.terminal?.reason },
      'deployment rests',
    )
  }

  const schedule = createSchedule(async (slot) => {
    try {
      const deployment = await store.get(slot)
      if (deployment?.record.terminal?.status !== 'succeeded') return
      const body = await rebenchmark(slot, deployment.goal, { stateDir, slots, runner, limits, now }, stopping.signal)
      if (body !== undefined) await report(body)
    } catch (error) {
      if (stopping.signal.aborted) return
      log.warn({ err: error, slot }, 're-benchmark failed')
      const message = `slot ${slot}: ${describeFailure(error).text}`.slice(0, 4000)
      await report({ kind: 'notice', code: 'rebenchmark-failed', message }).catch(() => undefined)
    }
  })

  const supervisor = createSupervisor({
    store,
    runSlot,
    emptySlot: slots.empty,
    report,
    async onChange(deployments) {
      schedule.set(deployments)
      const wanted = new Set(deployments.map(({ goal }) => goal.dataset.artifact.digest))
      const results = deployments.flatMap(({ record }) => record.result?.winner?.digest ?? [])
      const goals = deployments.flatMap(({ goal: { model, dataset } }) =>
        [model.artifact, dataset.artifact].flatMap(({ digest, manifest }) => [digest, manifest.digest]),
      )
      try {
        await work.retain([...goals, ...results])
        await removeOthers(join(stateDir, 'datasets'), wanted)
      } catch (error) {
        log.warn({ err: error }, 'what is no longer needed could not be deleted')
      }
    },
    onError: (slot, error) => log.error({ err: error, slot }, 'fault of the agent or its disk; the slot tries again'),
  })

  session.onDesired(async (outcome) => {
    if (outcome.kind === 'accepted') await supervisor.apply(outcome.state.slots)
    else await supervisor.refuse(refusedReports(outcome))
  })

  await rm(join(stateDir, 'work'), { recursive: true, force: true })
  await supervisor.start()
  session.start()
  log.info({ device: identity.deviceId, fleet: identity.fleet, broker: identity.brokerUrl }, 'agent started')
  profile(stopping.signal).catch((error: unknown) => {
    if (!stopping.signal.aborted) log.error({ err: error }, 'this box could not be profiled')
  })

  return {
    async stop() {
      stopping.abort()
      schedule.stop()
      await supervisor.stop()
      await session.stop()
      await database.destroy()
      lock.release()
    },
  }
}

/** The controller knows the key that enrolment made: another one would be refused for ever, without a hint why. */
async function loadDeviceKey(stateDir: string): Promise<SigningKey> {
  const path = deviceKeyPath(stateDir)
  const pem = await readIfPresent(path)
  if (pem !== undefined) return importSigningKey(pem, path)
  throw new EdgefitError(`${path} is missing: restore it, or enrol the box again with "edgefit-agent enrol"`, {
    code: 'CONFIG_INVALID',
  })
}

async function removeOthers(folder: string, wanted: ReadonlySet<string>): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const name of await readdir(folder)) {
    if (!wanted.has(name.replace(/\.partial$/, ''))) await rm(join(folder, name), { recursive: true, force: true })
  }
}
