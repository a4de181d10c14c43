import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ChunkQueue,
  type ChunkRequest,
  type QueuedRun,
  type QueueLimits,
} from '../../../controller/link/chunk-server-queue.ts'

const KIB = 1024
const LIMITS: QueueLimits = {
  runBytes: 64 * KIB,
  inFlightBytes: 1024 * KIB,
  deviceInFlightBytes: 256 * KIB,
  deviceQueuedBytes: 1024 * KIB,
  queuedChunks: 100,
}

function request(span: number, indices: readonly number[], own?: string): ChunkRequest {
  return { artifact: 'a', span, own, chunks: indices.map((index) => ({ index, sizeBytes: 64 * KIB })) }
}

/** Takes all that can be taken now. */
function drain(queue: ChunkQueue, nowMs = 0): QueuedRun[] {
  const taken: QueuedRun[] = []
  for (let chunk = queue.next(nowMs); chunk !== undefined; chunk = queue.next(nowMs)) taken.push(chunk)
  return taken
}

describe('the queue of chunks', () => {
  it('gives out each chunk once, in the order asked', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('d1', request(0, [2, 0, 1]), 0)

    expect(drain(queue).map(({ first }) => first)).toEqual([2, 0, 1])
    expect(queue.queuedChunks).toBe(0)
  })

  it('takes what waits or is being sent as answered, on the same topic only', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('d1', request(0, [0, 1]), 0)
    const sending = queue.next(0) as QueuedRun

    expect(queue.add('d2', request(0, [0, 1, 2]), 0)).toBe(1)
    expect(queue.add('d2', request(0, [0], 'd2'), 0)).toBe(1)
    expect(queue.add('d2', request(1, [0]), 0)).toBe(1)
    queue.done(sending)
    expect(queue.add('d2', request(0, [0]), 0)).toBe(1)
  })

  it('gives out consecutive chunks together, up to a turn', () => {
    const queue = new ChunkQueue({ ...LIMITS, runBytes: 200 * KIB, deviceInFlightBytes: 1024 * KIB })
    queue.add('d1', request(0, [0, 1, 2, 3, 5, 6, 4]), 0)

    expect(drain(queue).map(({ first, count }) => [first, count])).toEqual([
      [0, 3],
      [3, 1],
      [5, 2],
      [4, 1],
    ])
  })

  it('lets devices take turns', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('greedy', request(0, [0, 1, 2, 3]), 0)
    queue.add('modest', request(1, [20, 21]), 0)

    expect(drain(queue).map(({ device }) => device)).toEqual([
      'greedy',
      'modest',
      'greedy',
      'modest',
      'greedy',
      'greedy',
    ])
  })

  it('gives no device more than its share in flight, and the rest to the others', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('stuck', request(0, [0, 1, 2, 3, 4, 5]), 0)
    queue.add('other', request(1, [20, 21, 22, 23, 24, 25]), 0)
    const first = drain(queue)
    for (const chunk of first) if (chunk.device === 'other') queue.done(chunk)

    expect(first.filter(({ device }) => device === 'stuck')).toHaveLength(4)
    expect(drain(queue).map(({ device }) => device)).toEqual(['other', 'other'])
  })

  it('keeps to the limit of all in flight', () => {
    const queue = new ChunkQueue({ ...LIMITS, inFlightBytes: 128 * KIB })
    for (const device of ['d1', 'd2', 'd3']) queue.add(device, request(0, [0], device), 0)

    const [first, ...rest] = drain(queue)

    expect(rest).toHaveLength(1)
    queue.done(first as QueuedRun)
    expect(drain(queue)).toHaveLength(1)
  })

  it('sends a chunk larger than every limit when nothing else is in flight', () => {
    const queue = new ChunkQueue({ ...LIMITS, inFlightBytes: 1, deviceInFlightBytes: 1 })
    queue.add('d1', request(0, [0, 1]), 0)

    expect(drain(queue)).toHaveLength(1)
  })

  it('refuses what one device, or all, cannot have waiting', () => {
    const queue = new ChunkQueue(LIMITS)
    const indices = [...Array(16).keys()]

    expect(queue.add('d1', request(0, indices), 0)).toBe(16)
    expect(queue.add('d1', request(1, indices), 0)).toBeUndefined()
    for (let i = 2; i < 7; i++) expect(queue.add(`d${i}`, request(0, indices, `d${i}`), 0)).toBe(16)
    expect(queue.add('d9', request(0, indices, 'd9'), 0)).toBeUndefined()
    expect(queue.queuedChunks).toBe(96)
  })

  it('holds chunks back until their time, and says when that is', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('d1', request(0, [0]), 20)
    queue.add('d1', request(1, [20]), 30)

    expect(queue.next(10)).toBeUndefined()
    expect(queue.nextReadyAtMs(10)).toBe(20)
    expect(drain(queue, 20).map(({ first }) => first)).toEqual([0])
    expect(queue.nextReadyAtMs(20)).toBe(30)
    expect(queue.nextReadyAtMs(30)).toBeUndefined()
  })

  it('does not let a chunk that is held back stop a later one of the device', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('d1', request(0, [0]), 20)
    queue.add('d1', request(1, [20], 'd1'), 0)

    expect(drain(queue, 0).map(({ first }) => first)).toEqual([20])
  })

  it('drops all that waits for an abandoned device and nothing of the others', () => {
    const queue = new ChunkQueue(LIMITS)
    queue.add('d1', request(0, [0, 1, 2]), 0)
    queue.add('d2', request(1, [20]), 0)
    const sending = queue.next(0) as QueuedRun

    expect(queue.abandon('d1')).toBe(2)
    queue.done(sending)
    expect(drain(queue).map(({ device }) => device)).toEqual(['d2'])
  })

  it('keeps its books in any order of events', () => {
    const event = fc.oneof(
      fc.record({
        kind: fc.constant('add' as const),
        device: fc.constantFrom('a', 'b', 'c'),
        span: fc.nat(3),
        own: fc.boolean(),
        indices: fc.uniqueArray(fc.nat(9), { maxLength: 6 }),
      }),
      fc.constant({ kind: 'next' as const }),
      fc.record({ kind: fc.constant('done' as const), pick: fc.nat(20) }),
      fc.record({ kind: fc.constant('abandon' as const), device: fc.constantFrom('a', 'b', 'c') }),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        const queue = new ChunkQueue(LIMITS)
        const flying: QueuedRun[] = []
        let accepted = 0
        let left = 0
        for (const next of events) {
          if (next.kind === 'add')
            accepted +=
              queue.add(next.device, request(next.span, next.indices, next.own ? next.device : undefined), 0) ?? 0
          else if (next.kind === 'abandon') left += queue.abandon(next.device)
          else if (next.kind === 'done') {
            const [chunk] = flying.splice(next.pick % Math.max(1, flying.length), 1)
            if (chunk !== undefined) queue.done(chunk)
          } else {
            const chunk = queue.next(0)
            if (chunk === undefined) continue
            left++
            flying.push(chunk)
          }
          expect(queue.queuedChunks).toBe(accepted - left)
          const bytesOf = (device?: string) =>
            flying.filter((chunk) => device === undefined || chunk.device === device).length * 64 * KIB
          expect(bytesOf()).toBeLessThanOrEqual(LIMITS.inFlightBytes)
          for (const device of ['a', 'b', 'c']) expect(bytesOf(device)).toBeLessThanOrEqual(LIMITS.deviceInFlightBytes)
        }
        for (const chunk of flying.splice(0)) queue.done(chunk)
        for (let chunk = queue.next(0); chunk !== undefined; chunk = queue.next(0)) {
          left++
          queue.done(chunk)
        }
        expect(left).toBe(accepted)
        expect(queue.queuedChunks).toBe(0)
      }),
    )
  })
})
