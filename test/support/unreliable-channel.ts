import { type ChunkLayout, chunkAt, fixedLayout, spanAt } from '@edgefit/shared/artifact'
import { allocateChunkFrame, CHUNK_HEADER_BYTES, decodeBitmap, type FetchRequest } from '@edgefit/shared/protocol'
import type { ChunkChannel } from '../../agent/link/download-channel.ts'

/** What becomes of one frame on its way: each entry is delivered, in this order. */
export type Mishap = (frame: Buffer) => readonly Uint8Array[]

/**
 * A chunk channel in memory that serves the given artifacts, with whatever mishaps a network, a broker or a controller
 * can produce.
 */
export interface UnreliableChannel extends ChunkChannel {
  readonly requests: FetchRequest[]
  readonly subscriptions: ReadonlySet<string>
  /** Frames handed out, before mishaps. */
  readonly served: () => number
  mishap: Mishap
  /** Refuses subscriptions while set. */
  refusal: Error | undefined
  /** Answers no request while true. */
  silent: boolean
  setConnected(connected: boolean): void
  /** Delivers any payload as if it came on this span. */
  inject(artifact: string, span: number, payload: Uint8Array): void
}

export function createUnreliableChannel(
  artifacts: ReadonlyMap<string, { readonly bytes: Uint8Array; readonly layout?: ChunkLayout }>,
): UnreliableChannel {
  const frameHandlers = new Set<Parameters<ChunkChannel['onFrame']>[0]>()
  const reconnectHandlers = new Set<() => void>()
  const subscriptions = new Set<string>()
  const requests: FetchRequest[] = []
  let isConnected = true
  let served = 0
  const topic = (artifact: string, span: number, own: boolean) => `${artifact}/${span}${own ? '@own' : ''}`

  function deliver(artifact: string, span: number, payload: Uint8Array): void {
    for (const handler of [...frameHandlers]) handler(artifact, span, payload)
  }

  function serve(request: FetchRequest): void {
    const artifact = artifacts.get(request.artifact)
    if (artifact === undefined || channel.silent) return
    const layout = artifact.layout ?? fixedLayout(artifact.bytes.byteLength)
    const { first, count } = spanAt(layout, request.span) ?? { first: 0, count: 0 }
    const name = topic(request.artifact, request.span, request.private)
    for (const member of decodeBitmap(request.bitmap, count) ?? []) {
      const { offset, sizeBytes } = chunkAt(layout, first + member) ?? { offset: 0, sizeBytes: 0 }
      const frame = allocateChunkFrame(first + member, sizeBytes)
      frame.set(artifact.bytes.subarray(offset, offset + sizeBytes), CHUNK_HEADER_BYTES)
      served++
      for (const payload of channel.mishap(frame))
        setImmediate(() => isConnected && subscriptions.has(name) && deliver(request.artifact, request.span, payload))
    }
  }

  const channel: UnreliableChannel = {
    requests,
    subscriptions,
    served: () => served,
    mishap: (frame) => [frame],
    refusal: undefined,
    silent: false,
    async subscribeSpan(artifact, span, own) {
      await Promise.resolve()
      if (channel.refusal !== undefined) throw channel.refusal
      if (!isConnected) throw new Error('not connected')
      subscriptions.add(topic(artifact, span, own))
    },
    async unsubscribeSpan(artifact, span, own) {
      await Promise.resolve()
      subscriptions.delete(topic(artifact, span, own))
    },
    async fetch(request) {
      requests.push(request)
      await Promise.resolve()
      if (!isConnected) throw new Error('not connected')
      serve(request)
    },
    onFrame(handler) {
      frameHandlers.add(handler)
      return () => frameHandlers.delete(handler)
    },
    connected: () => isConnected,
    onReconnect(handler) {
      reconnectHandlers.add(handler)
      return () => reconnectHandlers.delete(handler)
    },
    setConnected(connected) {
      isConnected = connected
      subscriptions.clear()
      if (connected) for (const handler of [...reconnectHandlers]) handler()
    },
    inject: deliver,
  }
  return channel
}
