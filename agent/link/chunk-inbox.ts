import { EdgefitError } from '@edgefit/shared'
import { encodeDocument, formatTopic, parseTopic } from '@edgefit/shared/protocol'
import type { BrokerConnection } from './broker-connection.ts'
import type { ChunkChannel } from './download-channel.ts'
import type { AgentIdentity } from './identity.ts'

export interface ChunkInbox {
  readonly channel: ChunkChannel
  /** False for a topic that is not one of chunks. */
  receive(topic: string, payload: Uint8Array): boolean
  opened(connection: BrokerConnection): void
  closed(): void
}

/** The downloads' view of the session. Subscriptions end with the connection, as {@link ChunkChannel} says. */
export function createChunkInbox({ fleet, deviceId: device }: Pick<AgentIdentity, 'fleet' | 'deviceId'>): ChunkInbox {
  const onFrame = new Set<Parameters<ChunkChannel['onFrame']>[0]>()
  const onReconnect = new Set<() => void>()
  let connection: BrokerConnection | undefined

  function connected(): BrokerConnection {
    if (connection === undefined)
      throw new EdgefitError('there is no connection to the broker', { code: 'UNAVAILABLE' })
    return connection
  }

  function spanTopic(artifact: string, span: number, own: boolean): string {
    return formatTopic({ kind: 'chunks', fleet, artifact, span, ...(own ? { device } : {}) })
  }

  return {
    channel: {
      subscribeSpan: async (artifact, span, own) => await connected().subscribe([spanTopic(artifact, span, own)], 0),
      unsubscribeSpan: async (artifact, span, own) => await connected().unsubscribe([spanTopic(artifact, span, own)]),
      async fetch(request) {
        const topic = formatTopic({ kind: 'up', fleet, device, channel: 'fetch' })
        await connected().publish(topic, encodeDocument('fetch', request))
      },
      onFrame(handler) {
        onFrame.add(handler)
        return () => onFrame.delete(handler)
      },
      connected: () => connection !== undefined,
      onReconnect(handler) {
        onReconnect.add(handler)
        return () => onReconnect.delete(handler)
      },
    },
    receive(text, payload) {
      const topic = parseTopic(text)
      if (topic?.kind !== 'chunks') return false
      for (const handler of onFrame) handler(topic.artifact, topic.span, payload)
      return true
    },
    opened(next) {
      connection = next
      for (const handler of onReconnect) handler()
    },
    closed() {
      connection = undefined
    },
  }
}
