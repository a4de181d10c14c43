import { type ChunkLayout, chunkAt, chunkCount, spanAt, spanCount } from '@edgefit/shared/artifact'

const MISSING = 0
const ASKED = 1
const WRITING = 2
const DONE = 3

/**
 * The state of every chunk of a download: missing, asked for, being written, done.
 *
 * Invariants: a span is complete when all its chunks are done; `inFlightBytes` is the size of all chunks asked for or
 * being written, so a slow disk holds up asking just as a slow link does.
 */
export class ChunkBook {
  readonly layout: ChunkLayout
  inFlightBytes = 0
  remaining = 0
  /** Below this all spans are complete. */
  firstOpenSpan = 0
  private readonly state: Uint8Array
  private readonly askedAtMs: Float64Array
  private readonly asks: Uint8Array
  private readonly remainingInSpan: Uint32Array
  private readonly missingInSpanBytes: Float64Array

  /** `wanted(i)`: whether chunk i is still needed. */
  constructor(layout: ChunkLayout, wanted: (index: number) => boolean) {
    const chunks = chunkCount(layout)
    this.layout = layout
    this.state = new Uint8Array(chunks)
    this.askedAtMs = new Float64Array(chunks)
    this.asks = new Uint8Array(chunks)
    this.remainingInSpan = new Uint32Array(spanCount(layout))
    this.missingInSpanBytes = new Float64Array(spanCount(layout))
    for (let span = 0; span < this.remainingInSpan.length; span++)
      for (const index of this.chunksOf(span)) {
        if (!wanted(index)) this.state[index] = DONE
        else {
          this.countRemaining(span, 1)
          this.countMissing(span, this.sizeOf(index))
        }
      }
    this.skipComplete()
  }

  isComplete(span: number): boolean {
    return this.remainingInSpan[span] === 0
  }

  /** Missing chunks of the span, as many from the start as fit `budgetBytes`, at least one if the budget is positive. */
  missing(span: number, budgetBytes: number): number[] {
    const indices: number[] = []
    let bytes = 0
    for (const index of this.chunksOf(span)) {
      if (this.state[index] !== MISSING) continue
      bytes += this.sizeOf(index)
      if (bytes > budgetBytes && (indices.length > 0 || budgetBytes <= 0)) break
      indices.push(index)
    }
    return indices
  }

  missingBytes(span: number): number {
    return this.missingInSpanBytes[span] ?? 0
  }

  ask(span: number, indices: readonly number[], nowMs: number): void {
    for (const index of indices) {
      this.state[index] = ASKED
      this.countMissing(span, -this.sizeOf(index))
      this.askedAtMs[index] = nowMs
      this.asks[index] = Math.min(255, (this.asks[index] ?? 0) + 1)
      this.inFlightBytes += this.sizeOf(index)
    }
  }

  /** When a chunk that has not come yet was asked for, of all in `spans` the longest ago. */
  oldestAskMs(spans: Iterable<number>): number | undefined {
    let oldest: number | undefined
    for (const span of spans)
      for (const index of this.chunksOf(span)) {
        const at = this.askedAtMs[index]
        if (this.state[index] === ASKED && at !== undefined && (oldest === undefined || at < oldest)) oldest = at
      }
    return oldest
  }

  /** Chunks of `spans` asked for at `untilMs` or before become missing again. Returns their size. */
  expire(spans: Iterable<number>, untilMs: number): number {
    let bytes = 0
    for (const span of spans)
      for (const index of this.chunksOf(span)) {
        if (this.state[index] !== ASKED || (this.askedAtMs[index] ?? 0) > untilMs) continue
        this.state[index] = MISSING
        this.countMissing(span, this.sizeOf(index))
        bytes += this.sizeOf(index)
      }
    this.inFlightBytes -= bytes
    return bytes
  }

  isNeeded(index: number): boolean {
    return this.state[index] === MISSING || this.state[index] === ASKED
  }

  /** Whether this device has asked for the chunk more than once, so that it has itself to thank for a second copy. */
  wasAskedAgain(index: number): boolean {
    return (this.asks[index] ?? 0) > 1
  }

  /** The chunk has come and is good. Returns how long it took, `null` when it was not asked for exactly once. */
  arrive(span: number, index: number, nowMs: number): number | null {
    const wasAsked = this.state[index] === ASKED
    this.state[index] = WRITING
    if (!wasAsked) {
      this.countMissing(span, -this.sizeOf(index))
      this.inFlightBytes += this.sizeOf(index)
    }
    return wasAsked && this.asks[index] === 1 ? nowMs - (this.askedAtMs[index] ?? nowMs) : null
  }

  /** The chunk is written. */
  finish(span: number, index: number): void {
    this.state[index] = DONE
    this.inFlightBytes -= this.sizeOf(index)
    this.countRemaining(span, -1)
    this.skipComplete()
  }

  sizeOf(index: number): number {
    return chunkAt(this.layout, index)?.sizeBytes ?? 0
  }

  private *chunksOf(span: number): Iterable<number> {
    const { first, count } = spanAt(this.layout, span) ?? { first: 0, count: 0 }
    for (let index = first; index < first + count; index++) yield index
  }

  private countRemaining(span: number, change: number): void {
    this.remaining += change
    this.remainingInSpan[span] = (this.remainingInSpan[span] ?? 0) + change
  }

  private countMissing(span: number, changeBytes: number): void {
    this.missingInSpanBytes[span] = (this.missingInSpanBytes[span] ?? 0) + changeBytes
  }

  private skipComplete(): void {
    while (this.remainingInSpan[this.firstOpenSpan] === 0) this.firstOpenSpan++
  }
}
