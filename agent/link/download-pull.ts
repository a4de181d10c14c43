import { EdgefitError } from '@edgefit/shared'
import { type ChunkLayout, spanAt, spanCount } from '@edgefit/shared/artifact'
import { decodeChunkFrame, encodeBitmap, PROTOCOL_VERSION } from '@edgefit/shared/protocol'
import { ChunkBook } from './download-book.ts'
import type { ChunkChannel } from './download-channel.ts'
import {
  afterArrival,
  afterTimeout,
  patienceMs,
  startWindow,
  type Window,
  type WindowLimits,
} from './download-window.ts'

export interface PullLimits extends WindowLimits {
  /** Times in a row that nothing may come of what was asked for. Time without a connection does not count. */
  readonly maxFruitlessTries: number
}

export interface PullPlan {
  readonly artifact: string
  readonly layout: ChunkLayout
  readonly channel: ChunkChannel
  readonly limits: PullLimits
  readonly now: () => number
  readonly random: () => number
  wanted(index: number): boolean
  verify(index: number, bytes: Uint8Array): boolean
  /** Called once per good chunk, in any order, several at a time; rejecting ends the pull. */
  write(index: number, bytes: Uint8Array): Promise<void>
}

export interface PullStats {
  readonly frames: number
  readonly duplicateFrames: number
  readonly corruptFrames: number
  readonly requests: number
  readonly timeouts: number
  /** Whether the device has left the shared spans for its own. */
  readonly own: boolean
  readonly windowBytes: number
}

/** A device that has received this much, and this part of it only because others asked for it, reads spans of its own. */
const LEAVE_SHARED_AFTER_BYTES = 2 ** 20
const LEAVE_SHARED_RATIO = 0.25

/**
 * Fetches the wanted chunks of one artifact.
 *
 * @throws EdgefitError UNAVAILABLE when asking stays without effect, ARTIFACT_CORRUPT when only damaged chunks come;
 * what `write` throws; the signal's reason.
 */
export async function pullChunks(plan: PullPlan, signal: AbortSignal): Promise<PullStats> {
  signal.throwIfAborted()
  const pull = new ChunkPull(plan)
  const onAbort = () => pull.settle(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await pull.run()
  } finally {
    signal.removeEventListener('abort', onAbort)
    await pull.close()
  }
  return pull.stats()
}

interface OpenSpan {
  readonly own: boolean
  ready: boolean
  subscribedAtMs: number
}

/**
 * Spans are opened (subscribed) in order, a little ahead of the window; their missing chunks are asked for as far as
 * the window has room; a span is closed when all its chunks are written. A chunk that does not come in time is asked
 * for again, and so is one that came damaged. Chunks others have asked for are taken as well.
 */
class ChunkPull {
  private readonly plan: PullPlan
  private readonly book: ChunkBook
  private readonly open = new Map<number, OpenSpan>()
  private readonly writes = new Set<Promise<void>>()
  private readonly detach: (() => void)[] = []
  private window: Window
  private jitter: number
  private nextSpan = 0
  private own = false
  private connection = 0
  private timer: NodeJS.Timeout | undefined
  private done: ((error: unknown) => void) | undefined
  private arrivedSinceTimeout = false
  private corruptSinceArrival = 0
  private fruitlessTries = 0
  private lastRefusal: unknown
  private receivedBytes = 0
  private foreignBytes = 0
  private counts = { frames: 0, duplicateFrames: 0, corruptFrames: 0, requests: 0, timeouts: 0 }

  constructor(plan: PullPlan) {
    this.plan = plan
    this.book = new ChunkBook(plan.layout, (index) => plan.wanted(index))
    this.window = startWindow(plan.limits)
    this.jitter = plan.random()
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.done = (error) => (error === undefined ? resolve() : reject(error))
      this.detach.push(
        this.plan.channel.onFrame((artifact, span, payload) => {
          if (artifact === this.plan.artifact) this.onFrame(span, payload)
        }),
        this.plan.channel.onReconnect(() => this.onReconnect()),
      )
      this.step()
    })
  }

  settle(error?: unknown): void {
    this.done?.(error)
    this.done = undefined
  }

  async close(): Promise<void> {
    this.done = undefined
    clearTimeout(this.timer)
    for (const detach of this.detach) detach()
    for (const span of [...this.open.keys()]) this.closeSpan(span)
    await Promise.all(this.writes)
  }

  stats(): PullStats {
    return { ...this.counts, own: this.own, windowBytes: this.window.bytes }
  }

  private step(): void {
    if (this.book.remaining === 0) this.settle()
    if (this.done === undefined || !this.plan.channel.connected()) return
    this.openSpans()
    this.ask()
    this.timer ??= setTimeout(() => this.onTimer(), this.dueInMs())
  }

  /** Half a window ahead, so that asking seldom waits for a subscription to be confirmed. */
  private openSpans(): void {
    let ahead = this.book.inFlightBytes
    for (const span of this.open.keys()) ahead += this.book.missingBytes(span)
    this.nextSpan = Math.max(this.nextSpan, this.book.firstOpenSpan)
    for (; ahead < 1.5 * this.window.bytes && this.nextSpan < spanCount(this.plan.layout); this.nextSpan++) {
      if (this.book.isComplete(this.nextSpan)) continue
      ahead += this.book.missingBytes(this.nextSpan)
      this.subscribe(this.nextSpan, this.own)
    }
  }

  private subscribe(span: number, own: boolean): void {
    const state = { own, ready: false, subscribedAtMs: this.plan.now() }
    const connection = this.connection
    this.open.set(span, state)
    this.plan.channel.subscribeSpan(this.plan.artifact, span, own).then(
      () => {
        if (connection !== this.connection) return
        state.ready = true
        this.step()
      },
      // Tried again when the patience runs out, or on the next connection.
      (error: unknown) => this.onRefused(error),
    )
  }

  private closeSpan(span: number): void {
    const state = this.open.get(span)
    this.open.delete(span)
    if (state !== undefined)
      this.plan.channel.unsubscribeSpan(this.plan.artifact, span, state.own).catch(() => undefined)
  }

  private ask(): void {
    let room = this.window.bytes - this.book.inFlightBytes
    // Few requests for many chunks each, rather than one for each chunk that has come.
    if (this.book.inFlightBytes > 0 && room < this.window.bytes / 4) return
    for (const [span, state] of this.open) {
      if (room <= 0) return
      const wanted = state.ready ? this.book.missing(span, room) : []
      if (wanted.length === 0) continue
      this.book.ask(span, wanted, this.plan.now())
      for (const index of wanted) room -= this.book.sizeOf(index)
      this.request(span, state.own, wanted)
    }
  }

  private request(span: number, own: boolean, indices: readonly number[]): void {
    const { first, count } = spanAt(this.plan.layout, span) ?? { first: 0, count: 0 }
    const inSpan = indices.map((index) => index - first)
    this.counts.requests++
    this.plan.channel
      .fetch({
        v: PROTOCOL_VERSION,
        artifact: this.plan.artifact,
        span,
        bitmap: encodeBitmap(inSpan, count),
        private: own,
      })
      // A request that got lost ends like chunks that got lost.
      .catch((error: unknown) => this.onRefused(error))
  }

  private onRefused(error: unknown): void {
    this.lastRefusal = error
  }

  private onFrame(span: number, payload: Uint8Array): void {
    if (this.done === undefined) return
    this.counts.frames++
    this.receivedBytes += payload.byteLength
    const frame = decodeChunkFrame(payload)
    const { first, count } = spanAt(this.plan.layout, span) ?? { first: 0, count: 0 }
    if (frame === undefined || frame.index < first || frame.index >= first + count) this.onCorrupt()
    else if (!this.book.isNeeded(frame.index)) this.onDuplicate(frame.index, payload.byteLength)
    else if (this.isGood(frame.index, frame.bytes)) this.onChunk(span, frame.index, frame.bytes)
    else this.onCorrupt()
  }

  private isGood(index: number, bytes: Uint8Array): boolean {
    return bytes.byteLength === this.book.sizeOf(index) && this.plan.verify(index, bytes)
  }

  private onCorrupt(): void {
    this.counts.corruptFrames++
    this.corruptSinceArrival++
  }

  private onDuplicate(index: number, sizeBytes: number): void {
    this.counts.duplicateFrames++
    if (this.book.wasAskedAgain(index)) return
    this.foreignBytes += sizeBytes
    this.own ||=
      this.receivedBytes > LEAVE_SHARED_AFTER_BYTES && this.foreignBytes > LEAVE_SHARED_RATIO * this.receivedBytes
  }

  private onChunk(span: number, index: number, bytes: Uint8Array): void {
    const nowMs = this.plan.now()
    const waitedMs = this.book.arrive(span, index, nowMs)
    this.window = afterArrival(this.window, { bytes: bytes.byteLength, nowMs, waitedMs }, this.plan.limits)
    this.arrivedSinceTimeout = true
    this.corruptSinceArrival = 0
    this.fruitlessTries = 0
    const write = this.plan.write(index, bytes).then(
      () => {
        this.book.finish(span, index)
        if (this.book.isComplete(span)) this.closeSpan(span)
        this.step()
      },
      (error: unknown) => this.settle(error),
    )
    this.writes.add(write)
    void write.finally(() => this.writes.delete(write))
  }

  private onReconnect(): void {
    this.connection++
    this.book.expire(this.open.keys(), Number.POSITIVE_INFINITY)
    this.fruitlessTries = 0
    clearTimeout(this.timer)
    this.timer = undefined
    for (const [span, state] of this.open) this.subscribe(span, state.own)
    this.step()
  }

  private dueInMs(): number {
    const oldestMs = this.book.oldestAskMs(this.open.keys()) ?? Number.POSITIVE_INFINITY
    const waiting = [...this.open.values()].filter((state) => !state.ready).map((state) => state.subscribedAtMs)
    const sinceMs = Math.min(oldestMs, ...waiting)
    const patience = patienceMs(this.window, this.plan.limits, this.jitter)
    // The patience may get shorter meanwhile, so look again after the shortest.
    return Math.max(1, Math.min(this.plan.limits.minPatienceMs, sinceMs + patience - this.plan.now()))
  }

  private onTimer(): void {
    this.timer = undefined
    if (this.done === undefined || !this.plan.channel.connected()) return
    const untilMs = this.plan.now() - patienceMs(this.window, this.plan.limits, this.jitter)
    const lostBytes = this.book.expire(this.open.keys(), untilMs)
    const unconfirmed = [...this.open].filter(([, state]) => !state.ready && state.subscribedAtMs <= untilMs)
    if (lostBytes > 0 || unconfirmed.length > 0) this.onTimeout()
    for (const [span, state] of unconfirmed) this.subscribe(span, state.own)
    this.step()
  }

  private onTimeout(): void {
    this.counts.timeouts++
    this.fruitlessTries = this.arrivedSinceTimeout ? 0 : this.fruitlessTries + 1
    this.arrivedSinceTimeout = false
    this.window = afterTimeout(this.window)
    this.jitter = this.plan.random()
    if (this.fruitlessTries >= this.plan.limits.maxFruitlessTries) this.settle(this.fruitless())
  }

  private fruitless(): EdgefitError {
    const details = { artifact: this.plan.artifact, chunksMissing: this.book.remaining, ...this.counts }
    if (this.corruptSinceArrival > 0)
      return new EdgefitError(
        `artifact ${this.plan.artifact}: every chunk that came was damaged; publish it again if the controller's copy is`,
        { code: 'ARTIFACT_CORRUPT', details },
      )
    return new EdgefitError(
      `artifact ${this.plan.artifact}: asked ${this.fruitlessTries} times and no chunk came; check that the controller runs and has it`,
      { code: 'UNAVAILABLE', details, cause: this.lastRefusal },
    )
  }
}
