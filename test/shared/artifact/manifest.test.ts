import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  buildManifest,
  chunkAt,
  chunkBorders,
  chunkCount,
  encodeManifest,
  fixedLayout,
  isChunk,
  MAX_SPAN_BYTES,
  type Manifest,
  manifestLayout,
  parseManifest,
  spanAt,
  spanCount,
} from '../../../shared/artifact/index.ts'
import { EdgefitError } from '../../../shared/errors.ts'
import { MAX_CHUNK_BYTES } from '../../../shared/protocol/index.ts'

const KIB = 1024
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Bytes that repeat nowhere, different for each seed. */
function noise(sizeBytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4))
  let state = seed >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return Buffer.from(words.buffer, 0, sizeBytes)
}

function chunksOf(sizeBytes: number, borders: readonly number[]): number[] {
  return [...borders, sizeBytes].map((end, i) => end - (borders[i - 1] ?? 0))
}

describe('chunk borders', () => {
  it('ascend inside the file and leave no chunk over 64 KiB', () => {
    const files = fc
      .integer({ min: 1, max: 3_000_000 })
      .chain((size) => fc.tuple(fc.constant(size), fc.array(fc.integer({ min: -5, max: size + 5 }), { maxLength: 40 })))
    fc.assert(
      fc.property(files, ([size, cuts]) => {
        const chunks = chunksOf(size, chunkBorders(size, cuts))

        expect(Math.min(...chunks)).toBeGreaterThan(0)
        expect(Math.max(...chunks)).toBeLessThanOrEqual(MAX_CHUNK_BYTES)
        expect(chunks.reduce((a, b) => a + b, 0)).toBe(size)
      }),
    )
  })

  it('give long tensors chunks of their own, in equal parts, and pack short ones', () => {
    const borders = chunkBorders(300 * KIB, [1 * KIB, 3 * KIB, 5 * KIB, 205 * KIB, 206 * KIB])

    expect(borders.map((at) => at / KIB)).toEqual([5, 55, 105, 155, 205, 206, 253])
  })

  it('do not pack short tensors beyond one chunk', () => {
    const borders = chunkBorders(
      90 * KIB,
      [15, 30, 45, 60, 75].map((at) => at * KIB),
    )

    expect(borders.map((at) => at / KIB)).toEqual([60])
  })

  it('of nothing are none', () => {
    expect(chunkBorders(0, [])).toEqual([])
    expect(chunkBorders(1, [0, 1])).toEqual([])
  })

  it('let a version with one longer tensor share all chunks but its own', async () => {
    const tensors = [200, 40, 2, 300, 3, 150].map((kib, i) => noise(kib * KIB, i + 1))
    const changed = tensors.with(1, noise(44 * KIB + 3, 99))
    const manifestOf = (parts: readonly Buffer[]) => {
      const borders = parts.map((_, i) => Buffer.concat(parts.slice(0, i)).byteLength)
      const file = Buffer.concat(parts)
      return buildManifest([file], file.byteLength, chunkBorders(file.byteLength, borders))
    }

    const [before, after] = [await manifestOf(tensors), await manifestOf(changed)]

    expect(after.digests.filter((digest) => !before.digests.includes(digest))).toEqual([sha256(changed[1] as Buffer)])
  })
})

describe('a manifest', () => {
  const file = noise(1_500_001, 5)
  const build = () => buildManifest([file], file.byteLength, chunkBorders(file.byteLength, [70_000, 70_050]))

  it('lists digest and size of every chunk, in order, and of the whole', async () => {
    const manifest = await build()

    expect(manifest.digest).toBe(sha256(file))
    let at = 0
    for (const [i, size] of manifest.sizes.entries()) {
      expect(isChunk(manifest, i, file.subarray(at, at + size))).toBe(true)
      at += size
    }
    expect(at).toBe(file.byteLength)
  })

  it('does not depend on how its content is read', async () => {
    const pieces = [file.subarray(0, 1), file.subarray(1, 65_537), file.subarray(65_537, 65_537), file.subarray(65_537)]

    const manifest = await buildManifest(pieces, file.byteLength, chunkBorders(file.byteLength, [70_000, 70_050]))

    expect(encodeManifest(manifest).equals(encodeManifest(await build()))).toBe(true)
  })

  it('groups all chunks into spans of at most a megabyte', async () => {
    const layout = manifestLayout(await build())
    let next = 0
    for (let span = 0; span < spanCount(layout); span++) {
      const { first, count } = spanAt(layout, span) ?? { first: -1, count: 0 }
      expect(first).toBe(next)
      next += count
      const last = chunkAt(layout, next - 1)
      expect((last?.offset ?? 0) + (last?.sizeBytes ?? 0) - (chunkAt(layout, first)?.offset ?? 0)).toBeLessThanOrEqual(
        MAX_SPAN_BYTES,
      )
    }
    expect(next).toBe(chunkCount(layout))
    expect(spanAt(layout, spanCount(layout))).toBeUndefined()
    expect(chunkAt(layout, chunkCount(layout))).toBeUndefined()
  })

  it('survives the wire', async () => {
    const manifest = await build()

    expect(parseManifest(encodeManifest(manifest))).toEqual(manifest)
  })

  it('of an empty file lists nothing', async () => {
    const manifest = await buildManifest([], 0, chunkBorders(0, []))

    expect(manifest.sizes).toEqual([])
    expect(parseManifest(encodeManifest(manifest))).toEqual(manifest)
  })

  it.each<[string, (manifest: Manifest) => unknown, RegExp]>([
    ['sizes that do not sum up', (m) => ({ ...m, sizeBytes: m.sizeBytes + 1 }), /at sizes/],
    ['a chunk over 64 KiB', (m) => ({ ...m, sizes: m.sizes.with(0, 65_537) }), /sizes\[0\]/],
    ['an empty chunk', (m) => ({ ...m, sizes: m.sizes.with(0, 0) }), /sizes\[0\]/],
    ['fewer digests than chunks', (m) => ({ ...m, digests: m.digests.slice(1) }), /at digests/],
    ['a digest that is none', (m) => ({ ...m, digests: m.digests.with(0, 'A'.repeat(64)) }), /digests\[0\]/],
    ['spans that miss a chunk', (m) => ({ ...m, spans: m.spans.slice(1) }), /at spans/],
    ['a span over a megabyte', (m) => ({ ...m, spans: [m.sizes.length] }), /span 0 has 1500001 bytes/],
    ['an unknown field', (m) => ({ ...m, size: 1 }), /"size"/],
    ['another version', (m) => ({ ...m, v: 2 }), /at v/],
  ])('with %s is refused by name', async (_, damage, message) => {
    const bytes = Buffer.from(JSON.stringify(damage(await build())))

    expect(() => parseManifest(bytes)).toThrow(message)
    expect(() => parseManifest(bytes)).toThrow(EdgefitError)
  })

  it('never makes the parser throw anything but the typed error', () => {
    const documents = fc.oneof(
      fc.string(),
      fc.json(),
      fc.record({ v: fc.constant(1), sizes: fc.anything() }).map((d) => JSON.stringify(d) ?? ''),
    )
    fc.assert(
      fc.property(documents, (text) => {
        expect(() => parseManifest(Buffer.from(text))).toThrow(EdgefitError)
      }),
    )
  })
})

describe('the fixed layout', () => {
  it.each([
    [0, 0, 0],
    [1, 1, 1],
    [65_536, 1, 1],
    [65_537, 2, 1],
    [1_048_577, 17, 2],
  ])('of %i bytes has %i chunks in %i spans', (sizeBytes, chunks, spans) => {
    const layout = fixedLayout(sizeBytes)

    expect(chunkCount(layout)).toBe(chunks)
    expect(spanCount(layout)).toBe(spans)
    expect(layout.sizeBytes).toBe(sizeBytes)
  })
})
