/** Chunks of one span asked for, on one topic. */
export interface ChunkRequest {
  readonly artifact: string
  readonly span: number
  /** The device whose own topic is meant; `undefined` for the one all read. */
  readonly own: string | undefined
  readonly chunks: readonly { readonly index: number; readonly sizeBytes: number }[]
}

/** Consecutive chunks to read and publish together. */
export interface QueuedRun {
  readonly key: string
  readonly device: string
  readonly artifact: string
  readonly span: number
  readonly own: string | undefined
  readonly first: number
  readonly count: number
  readonly sizeBytes: number
}

export interface QueueLimits {
  /** A turn: what is read and published together. */
  readonly runBytes: number
  /** Being published at once, in all and for one device. */
  readonly inFlightBytes: number
  readonly deviceInFlightBytes: number
  /** Waiting for one device; and chunks waiting in all. */
  readonly deviceQueuedBytes: number
  readonly queuedChunks: number
}

interface Job {
  readonly key: string
  readonly request: ChunkRequest
  readonly lane: Lane
  readonly readyAtMs: number
  /** Index to size, in the order to send. */
  readonly waiting: Map<number, number>
  readonly sending: Set<number>
}

/** What is done on account of one device, the first to ask. */
interface Lane {
  readonly device: string
  readonly jobs: Set<Job>
  queuedBytes: number
  inFlightBytes: number
}

/**
 * Which chunks to publish next. Bookkeeping only: the time comes in, nothing is sent.
 *
 * A chunk that waits or is being sent on a topic is not queued again for that topic, whoever asks. Devices take turns,
 * a few chunks each, and none has more than its share in flight, so neither a greedy device nor one whose chunks the
 * broker is slow to take holds up the others.
 */
export class ChunkQueue {
  queuedChunks = 0
  private inFlightBytes = 0
  private readonly limits: QueueLimits
  private readonly jobs = new Map<string, Job>()
  /** In the order of their turns. */
  private readonly lanes = new Map<string, Lane>()

  constructor(limits: QueueLimits) {
    this.limits = limits
  }

  /** Returns how many chunks are new in the queue; `undefined`, and nothing is queued, when there is no room. */
  add(device: string, request: ChunkRequest, readyAtMs: number): number | undefined {
    const key = `${request.artifact}/${request.span}@${request.own ?? ''}`
    const known = this.jobs.get(key)
    const fresh = request.chunks.filter(({ index }) => !known?.waiting.has(index) && !known?.sending.has(index))
    if (fresh.length === 0) return 0
    const bytes = fresh.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    if (this.queuedChunks + fresh.length > this.limits.queuedChunks) return undefined
    // Joining what another device has asked for is not charged to either: a span bounds it.
    const queuedBytes = this.lanes.get(device)?.queuedBytes ?? 0
    if (known === undefined && queuedBytes + bytes > this.limits.deviceQueuedBytes) return undefined
    const job = known ?? this.newJob(key, device, request, readyAtMs)
    for (const { index, sizeBytes } of fresh) job.waiting.set(index, sizeBytes)
    job.lane.queuedBytes += bytes
    this.queuedChunks += fresh.length
    return fresh.length
  }

  /** Takes the next run out, to be reported `done` when it is published or has failed. */
  next(nowMs: number): QueuedRun | undefined {
    for (const lane of [...this.lanes.values()]) {
      for (const job of lane.jobs) {
        if (job.waiting.size === 0 || job.readyAtMs > nowMs) continue
        const run = runOf(job.waiting, this.limits.runBytes)
        if (!fits(this.inFlightBytes, run.sizeBytes, this.limits.inFlightBytes)) return undefined
        if (!fits(lane.inFlightBytes, run.sizeBytes, this.limits.deviceInFlightBytes)) break
        this.take(job, run)
        const { artifact, span, own } = job.request
        return { key: job.key, device: lane.device, artifact, span, own, ...run }
      }
    }
    return undefined
  }

  done({ key, device, first, count, sizeBytes }: QueuedRun): void {
    this.inFlightBytes -= sizeBytes
    const lane = this.lanes.get(device)
    if (lane !== undefined) lane.inFlightBytes -= sizeBytes
    const job = this.jobs.get(key)
    if (job === undefined) return
    for (let index = first; index < first + count; index++) job.sending.delete(index)
    this.forgetIfEmpty(job)
  }

  /** Drops what waits on account of the device. Returns how many chunks. */
  abandon(device: string): number {
    let dropped = 0
    for (const job of [...(this.lanes.get(device)?.jobs ?? [])]) {
      dropped += job.waiting.size
      for (const sizeBytes of job.waiting.values()) job.lane.queuedBytes -= sizeBytes
      job.waiting.clear()
      this.forgetIfEmpty(job)
    }
    this.queuedChunks -= dropped
    return dropped
  }

  /** When a job that is held back will be ready, of all the first. */
  nextReadyAtMs(nowMs: number): number | undefined {
    let first: number | undefined
    for (const { readyAtMs } of this.jobs.values())
      if (readyAtMs > nowMs && (first === undefined || readyAtMs < first)) first = readyAtMs
    return first
  }

  private newJob(key: string, device: string, request: ChunkRequest, readyAtMs: number): Job {
    const lane = this.lanes.get(device) ?? { device, jobs: new Set(), queuedBytes: 0, inFlightBytes: 0 }
    this.lanes.set(device, lane)
    const job = { key, request, lane, readyAtMs, waiting: new Map(), sending: new Set<number>() }
    lane.jobs.add(job)
    this.jobs.set(key, job)
    return job
  }

  private take(job: Job, { first, count, sizeBytes }: Run): void {
    const { lane } = job
    for (let index = first; index < first + count; index++) {
      job.waiting.delete(index)
      job.sending.add(index)
    }
    lane.queuedBytes -= sizeBytes
    lane.inFlightBytes += sizeBytes
    this.inFlightBytes += sizeBytes
    this.queuedChunks -= count
    // Its turn is over: to the end of the line.
    this.lanes.delete(lane.device)
    this.lanes.set(lane.device, lane)
  }

  private forgetIfEmpty(job: Job): void {
    if (job.waiting.size > 0 || job.sending.size > 0) return
    this.jobs.delete(job.key)
    job.lane.jobs.delete(job)
    if (job.lane.jobs.size === 0) this.lanes.delete(job.lane.device)
  }
}

interface Run {
  readonly first: number
  readonly count: number
  readonly sizeBytes: number
}

/** Consecutive chunks from the first that waits, as many as fit, at least one. */
function runOf(waiting: ReadonlyMap<number, number>, maxBytes: number): Run {
  let [first, count, bytes] = [-1, 0, 0]
  for (const [index, sizeBytes] of waiting) {
    if (count > 0 && (index !== first + count || bytes + sizeBytes > maxBytes)) break
    if (count === 0) first = index
    count++
    bytes += sizeBytes
  }
  return { first, count, sizeBytes: bytes }
}

/** One run always fits, so that no limit can stop everything. */
function fits(usedBytes: number, moreBytes: number, limitBytes: number): boolean {
  return usedBytes === 0 || usedBytes + moreBytes <= limitBytes
}
