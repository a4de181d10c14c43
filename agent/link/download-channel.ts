import type { FetchRequest } from '@edgefit/shared/protocol'

/**
 * What a download needs of the session with the controller. Chunks may be lost, repeated, reordered, damaged or never
 * asked for; the download deals with all of that.
 */
export interface ChunkChannel {
  /**
   * Resolves once the broker has confirmed that chunks of the span will be delivered; rejects when it refuses or the
   * connection is lost. `own`: the topic that only this device reads.
   */
  subscribeSpan(artifact: string, span: number, own: boolean): Promise<void>
  unsubscribeSpan(artifact: string, span: number, own: boolean): Promise<void>
  /** Sends a request. A lost one is not repeated by the channel. */
  fetch(request: FetchRequest): Promise<void>
  /** Frames of all artifacts. Returns the way to stop. */
  onFrame(handler: (artifact: string, span: number, payload: Uint8Array) => void): () => void
  /** Whether asking makes sense now. While it does not, a download waits without counting it as a failure. */
  connected(): boolean
  /**
   * Called whenever `connected` has become true, in particular on every new connection: subscriptions of the one before
   * are gone. Returns the way to stop.
   */
  onReconnect(handler: () => void): () => void
}
