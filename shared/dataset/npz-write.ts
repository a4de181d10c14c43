import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as yazl from 'yazl'
import { type ArrayInfo, arraySizeBytes, formatNpyHeader } from './npy.ts'

/** An array to write. A function is called when its turn comes and gives the elements in pieces of any size. */
export interface NpzSource extends ArrayInfo {
  /** C-ordered, little-endian, exactly as many elements as `shape` says. */
  readonly data: NodeJS.ArrayBufferView | (() => AsyncIterable<Uint8Array>)
}

export interface NpzWriteOptions {
  /**
   * Off by default: stored arrays give the same bytes on every machine. Deflated ones are smaller, but their bytes
   * depend on the zlib of the Node build.
   */
  readonly compress?: boolean
}

/**
 * Writes an .npz that NumPy reads, arrays in the given order, times fixed: the same arrays give the same bytes.
 *
 * Written beside `path` and renamed, so that it appears complete or not at all. Memory stays bounded.
 *
 * @throws what a source throws, or RangeError when a source does not fill its shape
 */
export async function writeNpz(
  path: string,
  sources: readonly NpzSource[],
  options: NpzWriteOptions,
  signal: AbortSignal,
): Promise<void> {
  const partial = `${path}.partial`
  try {
    await pipeline(archive(sources, options.compress ?? false), createWriteStream(partial, { flush: true }), { signal })
    await rename(partial, path)
  } catch (cause) {
    await rm(partial, { force: true })
    throw cause
  }
}

function archive(sources: readonly NpzSource[], compress: boolean): Readable {
  const zip = new yazl.ZipFile()
  const output = zip.outputStream as Readable
  zip.on('error', (error: Error) => output.destroy(error))
  // Local time on purpose: a DOS time has no zone, and this one is its earliest everywhere.
  const mtime = new Date(1980, 0, 1)
  const streams: Readable[] = []
  for (const source of sources) {
    const header = formatNpyHeader(source)
    const size = header.byteLength + arraySizeBytes(source)
    const options = { mtime, mode: 0o100644, forceDosTimestamp: true, compress, size }
    zip.addReadStreamLazy(`${source.name}.npy`, options, (done) => {
      const stream = Readable.from(npyPieces(header, source))
      streams.push(stream)
      stream.on('error', (error) => output.destroy(error))
      done(null, stream)
    })
  }
  zip.end()
  // A failed or aborted write must not leave a source waiting for a reader.
  void once(output, 'close').then(
    () => streams.map((stream) => stream.destroy()),
    () => streams.map((stream) => stream.destroy()),
  )
  return output
}

async function* npyPieces(header: Uint8Array, source: NpzSource): AsyncGenerator<Uint8Array> {
  yield header
  let written = 0
  for await (const piece of elementPieces(source.data)) {
    written += piece.byteLength
    yield piece
  }
  const expected = arraySizeBytes(source)
  if (written !== expected) {
    throw new RangeError(`array "${source.name}" has ${written} bytes, its shape needs ${expected}`)
  }
}

function elementPieces(data: NpzSource['data']): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (typeof data === 'function') return data()
  return [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]
}
