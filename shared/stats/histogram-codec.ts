import { EdgefitError } from '../errors.ts'
import { bucketIndex, EMPTY_HISTOGRAM, type LatencyHistogram } from './histogram.ts'

const VERSION = 1
const LARGEST_INDEX = bucketIndex(Number.MAX_SAFE_INTEGER)

/**
 * Base64 of: version byte 1, then unsigned LEB128 numbers: minNs, maxNs, number of buckets, and for each bucket the
 * distance of its index from the one before (the first from 0) and its count.
 *
 * About 3 characters a bucket: 1000 runs of one model take at most 3 KB, a thousand devices a few times that.
 */
export function encodeHistogram({ minNs, maxNs, buckets }: LatencyHistogram): string {
  const bytes: number[] = [VERSION]
  let previous = 0
  for (const value of [minNs, maxNs, buckets.length]) pushVarint(bytes, value)
  for (const [index, count] of buckets) {
    pushVarint(bytes, index - previous)
    pushVarint(bytes, count)
    previous = index
  }
  return Buffer.from(bytes).toString('base64')
}

/** @throws EdgefitError PROTOCOL_INVALID when the text is not what {@link encodeHistogram} makes */
export function decodeHistogram(text: string): LatencyHistogram {
  const reader = varintReader(Buffer.from(text, 'base64'))
  const version = reader.next()
  if (version !== VERSION) throw invalid(`version ${version} is not known, expected ${VERSION}`)
  const [minNs, maxNs, length] = [reader.next(), reader.next(), reader.next()]
  const buckets: (readonly [number, number])[] = []
  let index = 0
  let count = 0
  for (let position = 0; position < length; position += 1) {
    const distance = reader.next()
    const inBucket = reader.next()
    index += distance
    count += inBucket
    const ascending = position === 0 || distance > 0
    if (!ascending || inBucket === 0 || index > LARGEST_INDEX) throw invalid(`bucket ${position} is out of order`)
    if (!Number.isSafeInteger(count)) throw invalid('its counts add up to more than 2^53')
    buckets.push([index, inBucket])
  }
  if (!reader.atEnd()) throw invalid('it has bytes after the last bucket')
  const [first, last] = [buckets.at(0), buckets.at(-1)]
  if (!first || !last) {
    if (minNs === 0 && maxNs === 0) return EMPTY_HISTOGRAM
    throw invalid('it has extremes but no buckets')
  }
  if (minNs > maxNs || first[0] !== bucketIndex(minNs) || last[0] !== bucketIndex(maxNs)) {
    throw invalid('its extremes do not lie in its first and last bucket')
  }
  return { count, minNs, maxNs, buckets }
}

function pushVarint(bytes: number[], value: number): void {
  let rest = value
  while (rest >= 128) {
    bytes.push((rest % 128) + 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
}

function varintReader(bytes: Uint8Array): { next(): number; atEnd(): boolean } {
  let offset = 0
  return {
    next() {
      let value = 0
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[offset]
        if (byte === undefined) throw invalid('it is cut off')
        offset += 1
        value += (byte % 128) * scale
        if (!Number.isSafeInteger(value)) throw invalid('a number in it is too large')
        if (byte < 128) return value
      }
    },
    atEnd: () => offset === bytes.length,
  }
}

function invalid(reason: string): EdgefitError {
  return new EdgefitError(`latency histogram: ${reason}; send what encodeHistogram makes`, { code: 'PROTOCOL_INVALID' })
}
