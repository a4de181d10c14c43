import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  allocateChunkFrame,
  CHUNK_HEADER_BYTES,
  decodeBitmap,
  decodeChunkFrame,
  encodeBitmap,
  FetchRequest,
  MAX_CHUNK_BYTES,
} from '../../../shared/protocol/index.ts'

function frameOf(index: number, bytes: Uint8Array): Buffer {
  const frame = allocateChunkFrame(index, bytes.byteLength)
  frame.set(bytes, CHUNK_HEADER_BYTES)
  return frame
}

describe('a chunk frame', () => {
  it('brings back its index and bytes', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.uint8Array({ minLength: 1, maxLength: 300 }), (index, bytes) => {
        const decoded = decodeChunkFrame(frameOf(index, bytes))

        expect(decoded?.index).toBe(index)
        expect(Buffer.from(decoded?.bytes ?? []).equals(bytes)).toBe(true)
      }),
    )
  })

  it('is read where it lies in a larger buffer', () => {
    const frame = frameOf(7, Uint8Array.of(1, 2, 3))
    const network = Buffer.concat([Buffer.alloc(11, 0xff), frame, Buffer.alloc(5)])

    const decoded = decodeChunkFrame(network.subarray(11, 11 + frame.byteLength))

    expect(decoded).toEqual({ index: 7, bytes: Buffer.from([1, 2, 3]) })
  })

  it('of the largest chunk is decoded, one byte more is not', () => {
    const largest = frameOf(0, new Uint8Array(MAX_CHUNK_BYTES))

    expect(decodeChunkFrame(largest)?.bytes.byteLength).toBe(MAX_CHUNK_BYTES)
    expect(decodeChunkFrame(Buffer.concat([largest, Buffer.alloc(1)]))).toBeUndefined()
    expect(() => allocateChunkFrame(0, MAX_CHUNK_BYTES + 1)).toThrow(RangeError)
  })

  it('without bytes or of another version is none', () => {
    expect(decodeChunkFrame(new Uint8Array(0))).toBeUndefined()
    expect(decodeChunkFrame(Uint8Array.of(1, 0, 0, 0, 0))).toBeUndefined()
    expect(decodeChunkFrame(Uint8Array.of(2, 0, 0, 0, 0, 9))).toBeUndefined()
  })

  it('never throws, whatever arrives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (payload) => {
        const decoded = decodeChunkFrame(payload)

        expect(decoded === undefined || decoded.bytes.byteLength === payload.byteLength - CHUNK_HEADER_BYTES).toBe(true)
      }),
    )
  })
})

describe('a bitmap', () => {
  const sets = fc
    .integer({ min: 1, max: 4096 })
    .chain((count) => fc.tuple(fc.constant(count), fc.uniqueArray(fc.nat(count - 1), { maxLength: 200 })))

  it('brings back its members in order', () => {
    fc.assert(
      fc.property(sets, ([count, members]) => {
        expect(decodeBitmap(encodeBitmap(members, count), count)).toEqual([...members].sort((a, b) => a - b))
      }),
    )
  })

  it('puts bit i at the least significant end of byte i / 8', () => {
    expect(encodeBitmap([0, 9], 16)).toBe(Buffer.from([0b1, 0b10]).toString('base64'))
    expect(decodeBitmap('AQI=', 16)).toEqual([0, 9])
  })

  it.each([
    ['of another length', 'AQI=', 17],
    ['with a member beyond the count', 'gA==', 7],
    ['that is not base64', 'A!==', 8],
    ['without padding', 'AQ', 8],
  ])('%s is none', (_, text, count) => {
    expect(decodeBitmap(text, count)).toBeUndefined()
  })

  it('of the longest span fits a fetch request', () => {
    const bitmap = encodeBitmap(Array(64).keys(), 64)

    expect(FetchRequest.safeParse({ v: 1, artifact: '0'.repeat(64), span: 0, bitmap }).success).toBe(true)
  })

  it('never throws, whatever arrives', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(200), (text, count) => {
        expect(decodeBitmap(text, count)?.every((member) => member < count) ?? true).toBe(true)
      }),
    )
  })
})
