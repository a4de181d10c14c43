import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import type { Profile } from '@edgefit/shared/model'
import { encodeDocument, formatTopic, PROTOCOL_VERSION, type Report, type UpChannel } from '@edgefit/shared/protocol'
import { createDeviceToken, type SigningKey, signDocument } from '@edgefit/shared/trust'
import type { Logger } from 'pino'
import { type Backoff, backoffDelayMs } from './backoff.ts'
import { createBell } from './bell.ts'
import { type BrokerConnection, type ConnectRequest, openConnection } from './broker-connection.ts'
import { createChunkInbox } from './chunk-inbox.ts'
import type { DesiredGate, DesiredOutcome } from './desired.ts'
import type { ChunkChannel } from './download-channel.ts'
import { type AgentIdentity, readCertificate } from './identity.ts'
import { createInbox } from './inbox.ts'
import type { Outbox } from './outbox.ts'
import { sendReports } from './report-sender.ts'

export interface SessionOptions {
  readonly identity: AgentIdentity
  readonly key: SigningKey
  readonly agentVersion: string
  readonly outbox: Outbox
  readonly desired: DesiredGate
  /** The newest profile, if the box has been profiled yet. */
  readonly profile: () => Profile | undefined
  readonly now: () => number
  /** Uniform in [0, 1): spreads a fleet's tries over time. */
  readonly random: () => number
  readonly log: Logger
  readonly timing?: Partial<SessionTiming>
}

interface SessionTiming {
  readonly reconnect: Backoff
  readonly resend: Backoff
  /** A connection that held this long starts the back-off anew. */
  readonly stableAfterMs: number
  /** Within this time a device announces itself to a controller that has come back. */
  readonly announceWithinMs: number
  readonly clockPollMs: number
}

type SessionState =
  | { readonly kind: 'stopped' }
  /** The clock stands before this software existed: no certificate, token or expiry date can be judged. */
  | { readonly kind: 'waiting-for-time' }
  | { readonly kind: 'connecting'; readonly failures: number; readonly lastError?: string }
  | { readonly kind: 'connected'; readonly sinceMs: number }

/**
 * The agent's end of the link. It signs in, announces itself, takes goals and gets reports acknowledged, over
 * however many connections that takes. Nothing here relies on the broker's memory.
 */
export interface Session {
  readonly state: SessionState
  start(): void
  stop(): Promise<void>
  /** Outcomes come one at a time, in order. Set it before {@link start}. */
  onDesired(handler: (outcome: DesiredOutcome) => Promise<void>): void
  readonly chunks: ChunkChannel
  /** Publishes the profile as it now is; without a connection the next one does. */
  announceProfile(): Promise<void>
}

const TIMING: SessionTiming = {
  reconnect: { baseMs: 1_000, capMs: 60_000 },
  resend: { baseMs: 5_000, capMs: 120_000 },
  stableAfterMs: 30_000,
  announceWithinMs: 5_000,
  clockPollMs: 1_000,
}
/** 2025-01-01: a clock that says less was never set. */
const CLOCK_FLOOR_MS = Date.UTC(2025, 0, 1)
const FAREWELL_TIMEOUT_MS = 2_000

export function createSession(options: SessionOptions): Session {
  const { identity, key, agentVersion, outbox, desired, now, random, log } = options
  const timing = { ...TIMING, ...options.timing }
  const { fleet, deviceId: device } = identity
  const topicOf = (channel: UpChannel): string => formatTopic({ kind: 'up', fleet, device, channel })

  const added = createBell()
  outbox.onAdded(() => added.ring())
  const inbox = createInbox({ ...options, announceWithinMs: timing.announceWithinMs, announce })
  const chunks = createChunkInbox(identity)

  let state: SessionState = { kind: 'stopped' }
  let stopping: AbortController | undefined
  let running: Promise<void> = Promise.resolve()
  let connection: BrokerConnection | undefined
  /** Of the connection that is open, or being opened. */
  const instance = randomUUID()
  let session = ''

  async function run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      await untilClockIsSet(signal)
      const startedMs = now()
      let lastError: string | undefined
      try {
        await serveOneConnection(signal)
        lastError = 'the connection was lost'
      } catch (error) {
        if (signal.aborted) return
        lastError = explain(error)
        log.warn({ err: error }, 'no connection to the controller; trying again')
      }
      failures = now() - startedMs >= timing.stableAfterMs ? 0 : failures + 1
      state = { kind: 'connecting', failures, lastError }
      await sleep(backoffDelayMs(failures, timing.reconnect, random), undefined, { signal })
    }
  }

  async function untilClockIsSet(signal: AbortSignal): Promise<void> {
    if (now() >= CLOCK_FLOOR_MS) return
    state = { kind: 'waiting-for-time' }
    log.warn({ nowMs: now() }, 'the clock is not set: waiting for the time before signing in')
    while (now() < CLOCK_FLOOR_MS) await sleep(timing.clockPollMs, undefined, { signal })
  }

  async function serveOneConnection(signal: AbortSignal): Promise<void> {
    session = randomUUID()
    const opened = await openConnection(await connectRequest(), receive, signal)
    const end = new AbortController()
    let farewell: NodeJS.Timeout | undefined
    const stop = (): void => {
      end.abort()
      farewell = setTimeout(() => void opened.close(), FAREWELL_TIMEOUT_MS)
    }
    signal.addEventListener('abort', stop, { once: true })
    void opened.ended.then(() => end.abort())
    try {
      await subscribe(opened)
      connection = opened
      await announce()
      inbox.opened(session)
      chunks.opened(opened)
      state = { kind: 'connected', sinceMs: now() }
      log.info({ session }, 'connected')
      const { resume } = inbox
      await sendReports({ outbox, added, resume, send: publishReports, random, resend: timing.resend }, end.signal)
      inbox.closed()
      if (signal.aborted) await publish('presence', await presence(false), true)
    } finally {
      connection = undefined
      inbox.closed()
      chunks.closed()
      signal.removeEventListener('abort', stop)
      await opened.close()
      clearTimeout(farewell)
    }
  }

  function receive(topic: string, payload: Buffer, retained: boolean): void {
    if (!chunks.receive(topic, payload)) inbox.receive(topic, payload, retained)
  }

  async function subscribe(opened: BrokerConnection): Promise<void> {
    await opened.subscribe(inbox.topics, 1)
    try {
      await opened.subscribe([inbox.presenceTopic], 1)
    } catch (error) {
      log.warn({ err: error }, 'the device may not read its own presence: a late will of an older session can hide it')
    }
  }

  async function connectRequest(): Promise<ConnectRequest> {
    const { signIn, brokerUrl: url, ca } = identity
    const will = {
      topic: topicOf('presence'),
      payload: Buffer.from(await presence(false)),
      qos: 1,
      retain: true,
    } as const
    const request = { url, clientId: device, username: device, will, ...(ca === undefined ? {} : { ca }) }
    switch (signIn.kind) {
      case 'device-key':
        return { ...request, password: await createDeviceToken(key, { fleet, device, id: randomUUID(), nowMs: now() }) }
      case 'password':
        return { ...request, username: signIn.username, password: signIn.password }
      case 'certificate':
        return { ...request, ...(await readCertificate(signIn)) }
    }
  }

  async function announce(): Promise<void> {
    await publish('presence', await presence(true), true)
    await publishProfile()
  }

  async function publishProfile(): Promise<void> {
    const profile = options.profile()
    if (profile !== undefined)
      await publish('profile', encodeDocument('profile', { v: PROTOCOL_VERSION, session, profile }), true)
  }

  async function presence(online: boolean): Promise<Uint8Array> {
    const { labels } = identity
    const desiredVersion = await desired.version()
    const own = { session, instance, agentVersion, labels, desiredVersion }
    const document = { v: PROTOCOL_VERSION, online, atMs: now(), ...own }
    return encodeDocument('presence', document)
  }

  async function publishReports(reports: readonly Report[]): Promise<void> {
    const batch = { v: PROTOCOL_VERSION, session, journal: outbox.journal, reports: [...reports] }
    await publish('report', Buffer.from(await signDocument(key, 'reports', encodeDocument('reports', batch))))
  }

  async function publish(channel: UpChannel, payload: Uint8Array, retain = false): Promise<void> {
    if (connection === undefined)
      throw new EdgefitError('there is no connection to the broker', { code: 'UNAVAILABLE' })
    await connection.publish(topicOf(channel), payload, { retain })
  }

  return {
    get state() {
      return state
    },
    start() {
      if (stopping !== undefined) return
      stopping = new AbortController()
      const { signal } = stopping
      state = { kind: 'connecting', failures: 0 }
      running = run(signal).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    },
    async stop() {
      stopping?.abort()
      await running
      await inbox.drain()
      stopping = undefined
      state = { kind: 'stopped' }
    },
    onDesired: inbox.onDesired,
    chunks: chunks.channel,
    async announceProfile() {
      if (connection !== undefined) await publishProfile()
    },
  }
}

function explain(error: unknown): string {
  if (isEdgefitError(error, 'AUTH_REFUSED'))
    return `${error.message}: is the device accepted ("edgefit device list"), and do the clocks agree?`
  return error instanceof Error ? error.message : String(error)
}
