import { EdgefitError } from '../errors.ts'
import { type ElementType, elementSizeBytes, productOf } from './tensor-array.ts'

/** One array of a dataset. The first axis of `shape` is the sample axis. */
export interface ArrayInfo {
  readonly name: string
  readonly dtype: ElementType
  readonly shape: readonly number[]
}

export interface NpyHeader extends ArrayInfo {
  /** Where the elements start: they are C-ordered, little-endian and fill the rest of the file. */
  readonly dataOffset: number
}

const MAGIC = '\x93NUMPY'
/** Bytes that suffice to know the length of a header of any version. */
export const NPY_PREFIX_BYTES = 12
const LARGEST_HEADER_BYTES = 64 * 1024

const CODES: Readonly<Record<string, ElementType>> = {
  b1: 'bool',
  i1: 'int8',
  u1: 'uint8',
  i2: 'int16',
  u2: 'uint16',
  i4: 'int32',
  u4: 'uint32',
  i8: 'int64',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
}

/**
 * Length of magic, version and dictionary together, from the first {@link NPY_PREFIX_BYTES} bytes.
 *
 * @throws EdgefitError DATASET_INVALID when these are not of an .npy file, version 1 to 3
 */
export function npyHeaderBytes(prefix: Uint8Array, name: string): number {
  const bytes = Buffer.from(prefix.buffer, prefix.byteOffset, prefix.byteLength)
  if (bytes.length < NPY_PREFIX_BYTES || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw invalid(name, 'is not in NumPy .npy format; write the file with np.savez')
  }
  const version = bytes[6] ?? 0
  if (version < 1 || version > 3) {
    throw invalid(name, `is .npy version ${version}, known are 1 to 3; write the file with np.savez`)
  }
  const total = version === 1 ? 10 + bytes.readUInt16LE(8) : 12 + bytes.readUInt32LE(8)
  if (total > LARGEST_HEADER_BYTES) throw invalid(name, `has a header of ${total} bytes; write the file with np.savez`)
  return total
}

/**
 * @param bytes at least the whole header, as long as {@link npyHeaderBytes} says
 * @throws EdgefitError DATASET_INVALID for what a dataset cannot hold, with the NumPy call that mends it
 */
export function parseNpyHeader(bytes: Uint8Array, name: string): NpyHeader {
  const dataOffset = npyHeaderBytes(bytes, name)
  const start = bytes[6] === 1 ? 10 : 12
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8', start, dataOffset)
  const descr = /['"]descr['"]\s*:\s*(?:['"]([^'"]*)['"]|(\[))/.exec(text)
  const fortran = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text)?.[1]
  const shape = /['"]shape['"]\s*:\s*\(([\d\sL,]*)\)/.exec(text)?.[1]
  if (!descr || fortran === undefined || shape === undefined) {
    throw invalid(name, 'has a damaged .npy header; write the file again with np.savez')
  }
  const dtype = elementTypeOf(descr[1], name)
  if (fortran === 'True') {
    throw invalid(name, 'is in Fortran order; convert it with np.ascontiguousarray before saving')
  }
  const lengths = shape.split(',').filter((part) => part.trim() !== '')
  return { name, dtype, shape: lengths.map((part) => Number.parseInt(part, 10)), dataOffset }
}

/** Size of the elements of an array. */
export function arraySizeBytes({ dtype, shape }: Pick<ArrayInfo, 'dtype' | 'shape'>): number {
  return productOf(shape) * elementSizeBytes(dtype)
}

/** A version 1.0 header, padded to a multiple of 64 bytes as NumPy does. */
export function formatNpyHeader({ dtype, shape }: Pick<ArrayInfo, 'dtype' | 'shape'>): Uint8Array {
  const code = Object.keys(CODES).find((key) => CODES[key] === dtype) ?? ''
  const order = elementSizeBytes(dtype) === 1 ? '|' : '<'
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
  const dictionary = `{'descr': '${order}${code}', 'fortran_order': False, 'shape': ${tuple}, }`
  const total = Math.ceil((10 + dictionary.length + 1) / 64) * 64
  const bytes = Buffer.alloc(total, ' ')
  bytes.write(MAGIC, 0, 'latin1')
  bytes.set([1, 0], 6)
  bytes.writeUInt16LE(total - 10, 8)
  bytes.write(dictionary, 10, 'latin1')
  bytes.write('\n', total - 1, 'latin1')
  return bytes
}

function elementTypeOf(descr: string | undefined, name: string): ElementType {
  if (descr === undefined) throw invalid(name, 'has a structured dtype; save each field as an array of its own')
  const [order = '', code] = [descr.slice(0, 1), descr.slice(1)]
  if (code === 'O' || descr.startsWith('O')) {
    throw invalid(name, 'holds Python objects; give it a numeric dtype with .astype(np.float32) or pad ragged rows')
  }
  const dtype = CODES[code]
  if (dtype === undefined) {
    throw invalid(name, `has dtype "${descr}"; convert it with .astype to bool, an integer or float16, 32 or 64`)
  }
  if (order === '>' && elementSizeBytes(dtype) > 1) {
    throw invalid(name, `is big-endian ("${descr}"); convert it with .astype("<${code}") before saving`)
  }
  return dtype
}

function invalid(name: string, fault: string): EdgefitError {
  return new EdgefitError(`array "${name}" ${fault}`, { code: 'DATASET_INVALID', details: { array: name } })
}
