import { crc32, deflateSync } from 'node:zlib'

export interface PngImage {
  readonly width: number
  readonly height: number
  /** 1 grey, 3 RGB, 4 RGB with transparency. */
  readonly channels: 1 | 3 | 4
  /** Rows from the top, samples interleaved, 16-bit ones big-endian. */
  readonly bytes: Uint8Array
  readonly bitDepth?: 8 | 16
  /** EXIF orientation, 1 to 8. */
  readonly orientation?: number
}

const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 } as const

/** A PNG file (RFC 2083), so that pictures under test do not come from the library under test. */
export function encodePng({ width, height, channels, bytes, bitDepth = 8, orientation }: PngImage): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([bitDepth, COLOUR_TYPES[channels]], 8)
  const rowBytes = (width * channels * bitDepth) / 8
  const rows = Array.from({ length: height }, (_, row) =>
    Buffer.concat([Buffer.of(0), bytes.subarray(row * rowBytes, (row + 1) * rowBytes)]),
  )
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    ...(orientation === undefined ? [] : [chunk('eXIf', exif(orientation))]),
    chunk('IDAT', deflateSync(Buffer.concat(rows))),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const ends = Buffer.alloc(8)
  ends.writeUInt32BE(data.length, 0)
  ends.writeUInt32BE(crc32(body), 4)
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)])
}

/** A little-endian TIFF directory of one entry: tag 0x0112, a short. */
function exif(orientation: number): Buffer {
  return Buffer.from([0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0])
}
