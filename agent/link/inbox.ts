import { isEdgefitError } from '@edgefit/shared'
import { type DownChannel, decodeDocument, formatTopic } from '@edgefit/shared/protocol'
import type { Logger } from 'pino'
import { type Bell, createBell } from './bell.ts'
import type { DesiredGate, DesiredOutcome } from './desired.ts'
import type { AgentIdentity } from './identity.ts'
import type { Outbox } from './outbox.ts'

export interface InboxOptions {
  readonly identity: Pick<AgentIdentity, 'fleet' | 'deviceId'>
  readonly outbox: Outbox
  readonly desired: DesiredGate
  readonly random: () => number
  readonly announceWithinMs: number
  /** Publishes birth and profile again. */
  readonly announce: () => Promise<void>
  readonly log: Logger
}

/** What reaches the agent but for chunks, from whichever connection is open. */
export interface Inbox {
  /** The topics to subscribe to. */
  readonly topics: readonly string[]
  /** The device's own presence. A broker that does not let it read that serves all the same. */
  readonly presenceTopic: string
  receive(topic: string, payload: Buffer, retained: boolean): void
  /** Rings when an acknowledgement came, or when one that is waited for will not come any more. */
  readonly resume: Bell
  /** Birth is published: from here on a presence of another session is a stranger's or a late will. */
  opened(session: string): void
  closed(): void
  onDesired(handler: (outcome: DesiredOutcome) => Promise<void>): void
  /** Resolves when what was received has been handled. */
  drain(): Promise<void>
}

type Handler = (payload: Buffer, retained: boolean) => void | Promise<void>

export function createInbox(options: InboxOptions): Inbox {
  const { identity, outbox, desired, random, announceWithinMs, announce, log } = options
  const { fleet, deviceId: device } = identity
  const down = (channel: DownChannel): string => formatTopic({ kind: 'down', fleet, device, channel })
  const presenceTopic = formatTopic({ kind: 'up', fleet, device, channel: 'presence' })

  const resume = createBell()
  let ownSession: string | undefined
  let controllerSession: string | undefined
  let announcing: NodeJS.Timeout | undefined
  let onDesired: ((outcome: DesiredOutcome) => Promise<void>) | undefined
  let lastRefused: string | undefined
  /** Messages of one topic are handled in order; a slow deployment holds up no acknowledgement. */
  const lanes = new Map<string, Promise<void>>()

  const handlers = new Map<string, Handler>([
    [down('desired'), (payload) => receiveDesired(payload.toString())],
    [down('ack'), receiveAck],
    [formatTopic({ kind: 'controller', fleet }), receiveController],
    [presenceTopic, receiveOwnPresence],
  ])

  async function receiveDesired(jws: string): Promise<void> {
    const outcome = await desired.judge(jws)
    if (outcome.kind === 'refused') {
      log.warn({ code: outcome.code, why: outcome.message }, 'desired state refused')
      // A retained message comes again with every connection.
      if (lastRefused !== jws)
        await outbox.add({ kind: 'notice', code: outcome.code, message: outcome.message.slice(0, 4000) })
      lastRefused = jws
    }
    await onDesired?.(outcome)
  }

  async function receiveAck(payload: Buffer): Promise<void> {
    const { journal, seqs } = decodeDocument('ack', payload)
    await outbox.acknowledge(journal, seqs)
    resume.ring()
  }

  function receiveController(payload: Buffer, retained: boolean): void {
    const { session, online } = decodeDocument('controller', payload)
    if (!online || session === controllerSession) return
    controllerSession = session
    // What the broker remembers is no newer than the birth that was just published.
    if (!retained) announceSoon()
  }

  function receiveOwnPresence(payload: Buffer): void {
    const { session, online } = decodeDocument('presence', payload)
    if (ownSession === undefined || (session === ownSession && online)) return
    log.info({ session }, 'another presence under this name: announcing again')
    announceSoon()
  }

  function announceSoon(): void {
    announcing ??= setTimeout(() => {
      announcing = undefined
      announce()
        .then(() => resume.ring())
        .catch((error: unknown) => log.debug({ err: error }, 'could not announce; the next connection does'))
    }, random() * announceWithinMs)
  }

  function logFault(topic: string, error: unknown): void {
    if (isEdgefitError(error)) log.warn({ topic, err: error }, 'message dropped')
    else log.error({ topic, err: error }, 'message could not be handled')
  }

  return {
    topics: [...handlers.keys()].filter((topic) => topic !== presenceTopic),
    presenceTopic,
    receive(topic, payload, retained) {
      const handle = handlers.get(topic)
      // An empty message is a retained one that was removed.
      if (handle === undefined || payload.length === 0) return
      const last = lanes.get(topic) ?? Promise.resolve()
      lanes.set(
        topic,
        last.then(() => handle(payload, retained)).catch((error: unknown) => logFault(topic, error)),
      )
    },
    resume,
    opened(session) {
      ownSession = session
    },
    closed() {
      ownSession = undefined
      controllerSession = undefined
      clearTimeout(announcing)
      announcing = undefined
    },
    onDesired(handler) {
      onDesired = handler
    },
    async drain() {
      await Promise.all(lanes.values())
    },
  }
}
