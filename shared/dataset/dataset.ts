import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '../errors.ts'
import { arraySizeBytes, NPY_PREFIX_BYTES, type NpyHeader, npyHeaderBytes, parseNpyHeader } from './npy.ts'
import { countSamples } from './npz-entries.ts'
import { arrayFileName, readMarker } from './npz-unpack.ts'
import {
  type ElementType,
  elementSizeBytes,
  productOf,
  type TensorArray,
  toNumbers,
  viewElements,
} from './tensor-array.ts'

/** The name of the array that holds what is right; every other array is a model input. */
export const LABELS = 'labels'

/** One sample of an array: `shape` is without the sample axis. */
export interface RowSpec {
  readonly dtype: ElementType
  readonly shape: readonly number[]
}

/**
 * Rows of an unpacked dataset, read from disk as they are asked for. Reads may overlap; after `close` they are
 * refused.
 */
export interface Dataset {
  readonly count: number
  /** By array name, labels included, in the order of the archive. */
  readonly arrays: ReadonlyMap<string, RowSpec>
  readonly hasLabels: boolean
  /**
   * The rows of `indices`, one after another in that order, repeats allowed.
   *
   * @throws RangeError for an array that is not there or an index outside [0, count)
   */
  readRows(name: string, indices: ArrayLike<number>): Promise<TensorArray>
  /** The labels of `indices` as numbers, row after row. @throws RangeError when there are none */
  labels(indices: ArrayLike<number>): Promise<Float64Array>
  close(): Promise<void>
}

interface ArrayFile extends NpyHeader {
  readonly handle: FileHandle
}

/**
 * Opens a directory made by `unpackNpz`.
 *
 * @throws EdgefitError NOT_FOUND when it is not there or not complete; DATASET_INVALID when a file in it is damaged
 */
export async function openDataset(dir: string): Promise<Dataset> {
  const unpacked = await readMarker(dir)
  if (unpacked === undefined) {
    throw new EdgefitError(`no complete dataset in ${dir}; unpack its .npz again`, { code: 'NOT_FOUND' })
  }
  const files = new Map<string, ArrayFile>()
  const close = async () => {
    await Promise.all([...files.values()].map(({ handle }) => handle.close()))
  }
  try {
    for (const { name } of unpacked) files.set(name, await openArray(join(dir, arrayFileName(name)), name))
    const count = countSamples([...files.values()])
    const readRows: Dataset['readRows'] = async (name, indices) => await rowsOf(fileOf(files, name), indices)
    return {
      count,
      arrays: new Map([...files].map(([name, { dtype, shape }]) => [name, { dtype, shape: shape.slice(1) }])),
      hasLabels: files.has(LABELS),
      readRows,
      async labels(indices) {
        return toNumbers(await readRows(LABELS, indices), fileOf(files, LABELS).dtype)
      },
      close,
    }
  } catch (cause) {
    await close()
    throw cause
  }
}

async function openArray(path: string, name: string): Promise<ArrayFile> {
  const damaged = (cause?: unknown) =>
    new EdgefitError(`array "${name}" in ${path} is missing or damaged; unpack the .npz again`, {
      code: 'DATASET_INVALID',
      cause,
    })
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (cause) {
    throw damaged(cause)
  }
  try {
    const prefix = new Uint8Array(NPY_PREFIX_BYTES)
    await handle.read(prefix, 0, prefix.length, 0)
    const bytes = new Uint8Array(npyHeaderBytes(prefix, name))
    await handle.read(bytes, 0, bytes.length, 0)
    const header = parseNpyHeader(bytes, name)
    const { size } = await handle.stat()
    if (size !== header.dataOffset + arraySizeBytes(header)) throw damaged()
    return { ...header, handle }
  } catch (cause) {
    await handle.close()
    throw cause
  }
}

function fileOf(files: ReadonlyMap<string, ArrayFile>, name: string): ArrayFile {
  const file = files.get(name)
  if (file === undefined)
    throw new RangeError(`the dataset has no array "${name}", only ${[...files.keys()].join(', ')}`)
  return file
}

async function rowsOf(file: ArrayFile, indices: ArrayLike<number>): Promise<TensorArray> {
  const { name, shape, dtype, dataOffset, handle } = file
  const [count = 0] = shape
  const rowBytes = productOf(shape.slice(1)) * elementSizeBytes(dtype)
  const bytes = new Uint8Array(rowBytes * indices.length)
  for (let at = 0; at < indices.length; ) {
    const first = indices[at] ?? -1
    let run = 1
    while (at + run < indices.length && indices[at + run] === first + run) run += 1
    if (!(Number.isInteger(first) && first >= 0 && first + run <= count)) {
      throw new RangeError(`rows ${first} to ${first + run - 1} are not within the ${count} of array "${name}"`)
    }
    await readFully(handle, bytes.subarray(at * rowBytes, (at + run) * rowBytes), dataOffset + first * rowBytes, name)
    at += run
  }
  return viewElements(bytes.buffer, dtype)
}

async function readFully(handle: FileHandle, target: Uint8Array, position: number, name: string): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await handle.read(target, done, target.length - done, position + done)
    if (bytesRead === 0) {
      throw new EdgefitError(`array "${name}" has become shorter on disk; unpack the .npz again`, {
        code: 'DATASET_INVALID',
      })
    }
    done += bytesRead
  }
}
