import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import { decodeDocument, decodeReports, type Topic } from '@edgefit/shared/protocol'
import { verifyDocument } from '@edgefit/shared/trust'
import type { MqttLinkOptions } from './mqtt-link.ts'

export interface IncomingOptions extends Pick<MqttLinkOptions, 'directory' | 'handlers' | 'log'> {
  publishAck(device: string, journal: string, seqs: readonly number[]): Promise<void>
  publishEnrolReply(device: string, reply: string): Promise<void>
}

/** A device sends again what is not acknowledged: beyond this many waiting messages its newest are dropped. */
const MAX_WAITING_PER_DEVICE = 64

export interface Incoming {
  receive(topic: Topic, payload: Buffer, retained: boolean): void
  /** Resolves when everything received has been handled. */
  drain(): Promise<void>
}

/**
 * Reads what devices publish. Messages of one device are handled one after the other, those of different devices at
 * the same time. A bad message is logged and dropped: it ends nothing.
 */
export function createIncoming(options: IncomingOptions): Incoming {
  const { directory, handlers, log, publishAck, publishEnrolReply } = options
  const lanes = new Map<string, { waiting: number; last: Promise<void> }>()

  function enqueue(topic: Topic & { readonly device: string }, task: () => Promise<void>): void {
    const lane = lanes.get(topic.device) ?? { waiting: 0, last: Promise.resolve() }
    if (lane.waiting >= MAX_WAITING_PER_DEVICE) {
      log.warn({ device: topic.device }, 'message dropped: the device sends faster than it is heard')
      return
    }
    lanes.set(topic.device, lane)
    lane.waiting += 1
    lane.last = lane.last
      .then(task)
      .catch((error: unknown) => logFault(topic, error))
      .then(() => {
        lane.waiting -= 1
        if (lane.waiting === 0) lanes.delete(topic.device)
      })
  }

  function logFault(topic: Topic & { readonly device: string }, error: unknown): void {
    const fields = { device: topic.device, kind: topic.kind, err: error }
    if (isEdgefitError(error)) log.warn(fields, 'message dropped')
    else log.error(fields, 'message could not be handled')
  }

  async function receiveReports(device: string, payload: Buffer): Promise<void> {
    const identity = await directory.findIdentity(device)
    if (identity?.state !== 'accepted')
      throw new EdgefitError(`device ${device} is ${identity?.state ?? 'unknown'}: its reports are not taken`, {
        code: 'AUTH_REFUSED',
      })
    const bytes = await verifyDocument(payload.toString(), 'reports', identity.publicKey)
    const { batch, unreadable } = decodeReports(bytes)
    for (const { seq, message } of unreadable)
      log.warn({ device, seq, why: message }, 'report dropped: this version cannot read it')
    const committed = batch.reports.length === 0 ? [] : await handlers.onReports(device, batch)
    const seqs = [...committed, ...unreadable.map(({ seq }) => seq)]
    if (seqs.length > 0) await publishAck(device, batch.journal, seqs)
  }

  async function receiveEnrolment(device: string, payload: Buffer): Promise<void> {
    const reply = await handlers.onEnrol(device, payload.toString())
    if (reply !== undefined) await publishEnrolReply(device, reply)
  }

  return {
    receive(topic, payload, retained) {
      if (topic.kind === 'enrol-up') return enqueue(topic, () => receiveEnrolment(topic.device, payload))
      if (topic.kind !== 'up') return
      const { device, channel } = topic
      switch (channel) {
        case 'presence':
          return enqueue(topic, () => handlers.onPresence(device, decodeDocument('presence', payload), retained))
        case 'profile':
          return enqueue(topic, () => handlers.onProfile(device, decodeDocument('profile', payload)))
        case 'report':
          return enqueue(topic, () => receiveReports(device, payload))
        case 'fetch':
          // Not in line with the others: a download must not wait for a commit, and nothing depends on the order.
          try {
            handlers.onFetch(device, decodeDocument('fetch', payload))
          } catch (error) {
            logFault(topic, error)
          }
      }
    },
    async drain() {
      await Promise.all([...lanes.values()].map((lane) => lane.last))
    },
  }
}
