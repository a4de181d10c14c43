import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { openArtifactStore } from '@edgefit/shared/artifact'
import {
  createJoinSecret,
  encodeJoinToken,
  hashJoinSecret,
  keyFingerprint,
  loadOrCreateSigningKey,
} from '@edgefit/shared/trust'
import type { Logger } from 'pino'
import { startApiServer } from './api/api-server.ts'
import type { CommandServices, IssuedToken } from './api/services.ts'
import { openUploads } from './api/uploads.ts'
import { advertisedUrl, type BrokerSettings, reachableHosts } from './broker-options.ts'
import { createCloneWatch } from './fleet/clone-watch.ts'
import { enrolDevice, findDevice } from './fleet/device-registry.ts'
import { createIngest } from './fleet/ingest.ts'
import { admitJoinToken, createJoinToken } from './fleet/join-tokens.ts'
import { applyPresence, applyProfile, markAllOffline } from './fleet/presence.ts'
import { pruneReceivedReports } from './fleet/prune-reports.ts'
import type { BrokerAddress } from './link/broker-client.ts'
import { createChunkServer } from './link/chunk-server.ts'
import { type EmbeddedBroker, startEmbeddedBroker } from './link/embedded-broker.ts'
import { createEnrolment } from './link/enrolment.ts'
import { createMqttLink, type MqttLink } from './link/mqtt-link.ts'
import { ownCertificate } from './link/own-certificate.ts'
import type { DeviceDirectory } from './link/ports.ts'
import { keepAbove } from './rollout/desired-state.ts'
import { createGoals } from './rollout/goals.ts'
import { createListening } from './rollout/listening.ts'
import { createRollouts } from './rollout/rollouts.ts'
import { type CommitQueue, createCommitQueue } from './store/commit-queue.ts'
import { lockDataDirectory } from './store/data-lock.ts'
import { openStore, openStoreForReading } from './store/open-store.ts'
import { recordEvent } from './store/record-event.ts'
import type { ControllerDatabase } from './store/schema.ts'
import { startTicker } from './ticker.ts'
import { CONTROLLER_VERSION } from './version.ts'

export interface ControllerOptions {
  /** Holds everything the controller must not forget; made where it is missing, closed to other users. */
  readonly dataDir: string
  readonly fleet: string
  readonly broker: BrokerSettings
  /** Address of the broker for devices, where it is not the obvious one. */
  readonly advertise?: string
  /** PEM of the CA that signed the broker's certificate, where systems do not know it. Goes into join tokens. */
  readonly ca?: string
  readonly log: Logger
  /** Epoch milliseconds. */
  readonly now?: () => number
}

export interface Controller {
  readonly socketPath: string
  /** As devices use it. */
  readonly brokerUrl: string
  readonly keyFingerprint: string
  /** The embedded broker shows this certificate from now on. */
  renewCertificate(files: { readonly cert: string; readonly key: string }): void
  /** Closes everything; what devices have been promised is on disk. */
  stop(): Promise<void>
}

const TICK_MS = 1000
const TICKS_PER_SWEEP = 60

/**
 * Starts a controller on a data directory. Whatever it was doing when it last stopped goes on from there.
 *
 * @throws EdgefitError CONFLICT where another one runs there, or the directory belongs to another fleet; UNAVAILABLE
 * where a port is taken; CONFIG_INVALID
 */
export async function startController(options: ControllerOptions): Promise<Controller> {
  const closers: (() => Promise<void> | void)[] = []
  const stop = async () => {
    const failures: unknown[] = []
    for (const close of closers.splice(0).reverse()) {
      try {
        await close()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) options.log.error({ err: failures[0] }, 'not everything could be closed')
  }
  try {
    return { ...(await assemble(options, (close) => closers.push(close))), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** `onStop` takes what is to be closed, in the order of opening. */
async function assemble(
  options: ControllerOptions,
  onStop: (close: () => Promise<void> | void) => void,
): Promise<Omit<Controller, 'stop'>> {
  const { dataDir, fleet, log, now = Date.now } = options
  const inDataDir = (name: string) => join(dataDir, name)
  const lock = await lockDataDirectory(dataDir)
  onStop(() => lock.release())
  const db = await openStore(inDataDir('fleet.db'))
  onStop(() => db.destroy())
  // A connection of its own: whoever signs in waits for no commit.
  const reader = await openStoreForReading(inDataDir('fleet.db'))
  onStop(() => reader.destroy())
  const commits = createCommitQueue(db)
  onStop(() => commits.drain())
  await claimForFleet(db, fleet, dataDir)
  await markAllOffline(db)
  const key = await loadOrCreateSigningKey(inDataDir('controller-key.pem'))
  const artifacts = await openArtifactStore(inDataDir('artifacts'))
  const scratchDir = inDataDir('scratch')
  await rm(scratchDir, { recursive: true, force: true })
  await mkdir(scratchDir)
  const uploads = await openUploads({ directory: inDataDir('uploads'), now, newId })

  const directory = deviceDirectory(reader, commits, now)
  const enrolment = createEnrolment({ key, directory })
  const ingest = createIngest({ commits, now })
  const certificate = await brokerCertificate(options, now())
  const ca = options.ca ?? certificate?.ca
  const embedded = await startBroker(options, certificate, directory, now)
  if (embedded !== undefined) onStop(() => embedded.close())
  const brokerUrl = advertisedUrl(options.broker, options.advertise, {
    tcp: embedded?.tcpPort,
    tls: embedded?.tlsPort,
  })

  const clones = createCloneWatch()
  const listening = createListening(now)
  const chunks = createChunkServer({
    fleet,
    store: artifacts,
    publisher: { publish: (topic, payload) => link.publishChunk(topic, payload) },
    now,
    onEvent: (event) => log.debug(event, 'chunks not served'),
  })
  onStop(() => chunks.close())
  const link: MqttLink = createMqttLink({
    fleet,
    key,
    broker: brokerAddress(options, embedded),
    directory,
    handlers: {
      async onPresence(device, presence, retained) {
        const answer = await commits.run(async (trx) => {
          const change = await applyPresence(trx, device, presence, now())
          if (change !== 'online' || retained) return false
          const { desiredVersion = 0 } = presence
          if (desiredVersion > 0) await keepAbove(trx, device, desiredVersion, now())
          return true
        })
        if (!answer) return
        goals.send([device])
        if (presence.instance === undefined || !clones.met(device, presence.instance, now())) return
        log.warn({ device }, 'two boxes use the identity of this device')
        await commits.run((trx) => recordDuplicate(trx, device, now()))
      },
      onProfile: (device, { profile }) => commits.run((trx) => applyProfile(trx, device, profile, now())),
      onReports: (device, batch) => ingest.accept(device, batch),
      onFetch: (device, request) => chunks.handle(device, request),
      onEnrol: (device, request) => enrolment.receive(device, request),
      onConnection(connected) {
        listening.onConnection(connected)
        if (connected) goals.resume()
      },
    },
    now,
    log,
  })
  onStop(() => link.stop())
  const goals = createGoals({ db, commits, fleet, now, publish: (state) => link.publishDesired(state), log })
  onStop(() => goals.drain())
  const rollouts = createRollouts({
    db,
    now,
    newId,
    listeningSinceMs: () => listening.sinceMs(),
    onGoalsChanged: (devices) => goals.send(devices),
  })
  link.start()

  const fingerprint = keyFingerprint(key.publicKey)
  const startedAtMs = now()
  const services: CommandServices = {
    db,
    now,
    catalog: { db, artifacts, now, scratchDir },
    uploads,
    rollouts,
    issueToken: (wanted) =>
      issueToken(db, { fleet, ...(ca !== undefined && { ca }), brokerUrl, fingerprint, nowMs: now() }, wanted),
    onDeviceState(device, state) {
      tellDevice(device, state).catch((error: unknown) => log.warn({ err: error, device, state }, 'device not told'))
    },
    info: () => ({
      version: CONTROLLER_VERSION,
      fleet,
      brokerUrl,
      brokerConnected: link.connected,
      keyFingerprint: fingerprint,
      startedAtMs,
    }),
  }

  async function tellDevice(device: string, state: Parameters<CommandServices['onDeviceState']>[1]): Promise<void> {
    const reply = await enrolment.decide(device, state)
    if (reply !== undefined) await link.publishEnrolReply(device, reply)
    if (state !== 'decommissioned') return
    await embedded?.disconnect(device)
    await link.forget(device)
  }

  const socketPath = inDataDir('controller.sock')
  const api = await startApiServer({ socketPath, services, log })
  onStop(() => api.close())
  let ticks = 0
  const ticker = startTicker(
    TICK_MS,
    async () => {
      await rollouts.tick()
      ticks += 1
      if (ticks % TICKS_PER_SWEEP !== 0) return
      await goals.renew()
      await uploads.sweep()
      await pruneReceivedReports(db, now())
    },
    (error) => log.error({ err: error }, 'tick failed'),
  )
  onStop(() => ticker.stop())
  log.info({ dataDir, fleet, brokerUrl }, 'controller started')
  return {
    socketPath,
    brokerUrl,
    keyFingerprint: fingerprint,
    renewCertificate: (files) => embedded?.renewCertificate(files),
  }
}

async function recordDuplicate(db: ControllerDatabase, device: string, nowMs: number): Promise<void> {
  const remedy = 'two boxes use this identity in turns: on all but one remove the state folder, then enrol them anew'
  const by = { actor: 'controller', subject: `device:${device}` }
  await recordEvent(db, { atMs: nowMs, kind: 'device-duplicated', ...by, data: { remedy } })
}

/** Devices of one fleet refuse the goals of another, so a directory stays with the fleet it was made for. */
async function claimForFleet(db: ControllerDatabase, fleet: string, dataDir: string): Promise<void> {
  const row = await db.selectFrom('settings').select('value').where('key', '=', 'fleet').executeTakeFirst()
  if (row === undefined) await db.insertInto('settings').values({ key: 'fleet', value: fleet }).execute()
  else if (row.value !== fleet)
    throw new EdgefitError(
      `${dataDir} belongs to the fleet "${row.value}"; start with --fleet ${row.value}, or with another --data-dir`,
      { code: 'CONFLICT', details: { dataDir, fleet } },
    )
}

function deviceDirectory(reader: ControllerDatabase, commits: CommitQueue, now: () => number): DeviceDirectory {
  return {
    async findIdentity(device) {
      const row = await findDevice(reader, device)
      return row && { state: row.state, publicKey: row.public_key }
    },
    admitToken: (secretHash, device) => commits.run((trx) => admitJoinToken(trx, secretHash, device, now())),
    enrol: (candidate) => commits.run((trx) => enrolDevice(trx, candidate, now())),
  }
}

interface BrokerCertificate {
  readonly cert: string
  readonly key: string
  /** Set where the certificate is the controller's own. */
  readonly ca?: string
}

async function brokerCertificate(
  { broker, advertise, dataDir }: ControllerOptions,
  nowMs: number,
): Promise<BrokerCertificate | undefined> {
  if (broker.kind === 'external' || broker.tls === undefined) return undefined
  if ('cert' in broker.tls) return broker.tls
  return await ownCertificate(dataDir, reachableHosts(broker, advertise), nowMs)
}

async function startBroker(
  { broker, fleet, log }: ControllerOptions,
  certificate: BrokerCertificate | undefined,
  directory: DeviceDirectory,
  now: () => number,
): Promise<EmbeddedBroker | undefined> {
  if (broker.kind === 'external') return undefined
  const { host, mqttPort, tls } = broker
  return await startEmbeddedBroker({
    fleet,
    ...(mqttPort !== undefined && { tcp: { host, port: mqttPort } }),
    ...(tls !== undefined && certificate !== undefined && { tls: { host, port: tls.port, ...certificate } }),
    directory,
    now,
    log,
  })
}

function brokerAddress({ broker, ca }: ControllerOptions, embedded: EmbeddedBroker | undefined): BrokerAddress {
  if (broker.kind === 'external') return { ...broker, ...(ca !== undefined && { ca }) }
  if (embedded === undefined) throw new TypeError('the embedded broker was not started')
  return { kind: 'embedded', openStream: () => embedded.openStream() }
}

interface TokenContext extends Pick<ControllerOptions, 'fleet' | 'ca'> {
  readonly brokerUrl: string
  readonly fingerprint: string
  readonly nowMs: number
}

async function issueToken(
  db: ControllerDatabase,
  { fleet, ca, brokerUrl, fingerprint, nowMs }: TokenContext,
  { lifeS, maxUses }: Parameters<CommandServices['issueToken']>[0],
): Promise<IssuedToken> {
  const id = newId()
  const secret = createJoinSecret()
  const expiresAtMs = nowMs + lifeS * 1000
  await createJoinToken(db, { id, secretHash: hashJoinSecret(secret), expiresAtMs, maxUses }, nowMs)
  const token = encodeJoinToken({
    v: 1,
    fleet,
    brokerUrl,
    controllerKeyFingerprint: fingerprint,
    secret,
    ...(ca !== undefined && { ca }),
    expiresAtMs,
  })
  return { id, token, expiresAtMs }
}

/** 40 random bits: never twice in the life of a fleet, and short enough to type. */
function newId(): string {
  return randomBytes(5).toString('hex')
}
