import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import * as yauzl from 'yauzl'
import { EdgefitError, isEdgefitError } from '../errors.ts'
import {
  type ArrayInfo,
  arraySizeBytes,
  NPY_PREFIX_BYTES,
  type NpyHeader,
  npyHeaderBytes,
  parseNpyHeader,
} from './npy.ts'

/** One array inside an open .npz; `read` starts a stream of the whole .npy file and may be called once. */
export interface NpzEntry extends NpyHeader {
  /** CRC-32 of the .npy file as the archive states it. */
  readonly crc32: number
  read(): AsyncIterable<Uint8Array>
}

/**
 * Visits the arrays of an .npz in the order of the archive, reading no more than their headers unless asked.
 *
 * @throws EdgefitError NOT_FOUND without the file; DATASET_INVALID when it is no .npz, names an array twice or holds
 * anything else than arrays
 */
export async function* npzEntries(path: string, signal: AbortSignal): AsyncGenerator<NpzEntry> {
  const zip = await openZip(path)
  const seen = new Set<string>()
  try {
    for await (const entry of zip.eachEntry()) {
      signal.throwIfAborted()
      const name = arrayName(entry, path)
      if (seen.has(name)) throw invalid(path, `holds the array "${name}" twice; keep one`)
      seen.add(name)
      const header = await readHeader(zip, entry, name)
      const expected = header.dataOffset + arraySizeBytes(header)
      if (expected !== entry.uncompressedSize) {
        throw invalid(
          path,
          `array "${name}" has ${entry.uncompressedSize} bytes instead of ${expected}; write it again`,
        )
      }
      yield { ...header, crc32: entry.crc32, read: () => checkedStream(zip, entry, name) }
    }
    if (seen.size === 0) throw invalid(path, 'holds no arrays; save the model inputs by their names with np.savez')
  } catch (cause) {
    throw explained(cause, path, signal)
  } finally {
    zip.close()
  }
}

/**
 * Names, types and shapes, without reading the elements. Checks that all arrays have the same number of samples.
 *
 * @throws as {@link npzEntries}
 */
export async function listNpz(path: string, signal: AbortSignal): Promise<ArrayInfo[]> {
  const arrays: ArrayInfo[] = []
  for await (const { name, dtype, shape } of npzEntries(path, signal)) arrays.push({ name, dtype, shape })
  countSamples(arrays)
  return arrays
}

/**
 * The number of samples: the length of the first axis, which all arrays share.
 *
 * @throws EdgefitError DATASET_INVALID naming both arrays that differ
 */
export function countSamples(arrays: readonly ArrayInfo[]): number {
  const [first] = arrays
  for (const { name, shape } of arrays) {
    const count = shape[0]
    if (count === undefined) {
      throw new EdgefitError(`array "${name}" is a single value; its first axis must be the samples, as in (N,)`, {
        code: 'DATASET_INVALID',
        details: { array: name },
      })
    }
    if (count === 0) {
      throw new EdgefitError(`array "${name}" has no samples; save at least 3`, {
        code: 'DATASET_INVALID',
        details: { array: name },
      })
    }
    if (first !== undefined && count !== first.shape[0]) {
      throw new EdgefitError(
        `array "${name}" has ${count} samples and array "${first.name}" has ${first.shape[0] ?? 0}; ` +
          'the first axis of every array is the sample axis: cut them to the same samples',
        { code: 'DATASET_INVALID', details: { arrays: [first.name, name] } },
      )
    }
  }
  return first?.shape[0] ?? 0
}

async function openZip(path: string): Promise<yauzl.ZipFile> {
  try {
    return await yauzl.openPromise(path, { autoClose: false })
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new EdgefitError(`dataset ${path} does not exist; check the path`, { code: 'NOT_FOUND', cause })
    }
    throw invalid(path, 'is not an .npz archive or is cut off; write it again with np.savez', cause)
  }
}

function arrayName({ fileName }: yauzl.Entry, path: string): string {
  if (!fileName.endsWith('.npy') || fileName.length <= '.npy'.length) {
    throw invalid(path, `holds "${fileName}", which is not an array; save arrays only, by np.savez(path, name=array)`)
  }
  return fileName.slice(0, -'.npy'.length)
}

async function readHeader(zip: yauzl.ZipFile, entry: yauzl.Entry, name: string): Promise<NpyHeader> {
  let bytes: Uint8Array = Buffer.alloc(0)
  const stream = await zip.openReadStreamPromise(entry)
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    bytes = Buffer.concat([bytes, chunk])
    if (bytes.length >= NPY_PREFIX_BYTES && bytes.length >= npyHeaderBytes(bytes, name)) break
  }
  if (bytes.length < NPY_PREFIX_BYTES || bytes.length < npyHeaderBytes(bytes, name)) {
    throw new EdgefitError(`array "${name}" ends within its header; write the file again with np.savez`, {
      code: 'DATASET_INVALID',
      details: { array: name },
    })
  }
  return parseNpyHeader(bytes, name)
}

async function* checkedStream(zip: yauzl.ZipFile, entry: yauzl.Entry, name: string): AsyncGenerator<Uint8Array> {
  const damaged = (fault: string, cause?: unknown) =>
    new EdgefitError(`array "${name}" is damaged: ${fault}; copy or write the file again`, {
      code: 'DATASET_INVALID',
      details: { array: name },
      cause,
    })
  const stream: Readable = await zip.openReadStreamPromise(entry)
  let checksum = 0
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      checksum = crc32(chunk, checksum)
      yield chunk
    }
  } catch (cause) {
    throw damaged('it cannot be decompressed', cause)
  }
  if (checksum !== entry.crc32) throw damaged('its checksum does not match')
}

function explained(cause: unknown, path: string, signal: AbortSignal): unknown {
  if (isEdgefitError(cause) || signal.aborted) return cause
  return invalid(path, 'cannot be read: the archive is damaged or uses a feature that np.savez does not', cause)
}

function invalid(path: string, fault: string, cause?: unknown): EdgefitError {
  return new EdgefitError(`dataset ${path}: ${fault}`, { code: 'DATASET_INVALID', details: { path }, cause })
}
