import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { arraySizeBytes, formatNpyHeader, npyHeaderBytes, parseNpyHeader } from '../../../shared/dataset/npy.ts'
import { type ElementType, toNumbers } from '../../../shared/dataset/tensor-array.ts'
import { TENSOR_TYPES } from '../../../shared/model/index.ts'

function header(dictionary: string, version = 1): Uint8Array {
  const text = `${dictionary}\n`
  const bytes = Buffer.alloc((version === 1 ? 10 : 12) + text.length)
  bytes.write('\x93NUMPY', 0, 'latin1')
  bytes.set([version, 0], 6)
  if (version === 1) bytes.writeUInt16LE(text.length, 8)
  else bytes.writeUInt32LE(text.length, 8)
  bytes.write(text, version === 1 ? 10 : 12)
  return bytes
}

describe('.npy header', () => {
  it('gives back what it was formatted from, aligned to 64 bytes', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<ElementType>(...TENSOR_TYPES),
        fc.array(fc.nat({ max: 2 ** 40 }), { maxLength: 8 }),
        (dtype, shape) => {
          const bytes = formatNpyHeader({ dtype, shape })
          expect(bytes.length % 64).toBe(0)
          expect(npyHeaderBytes(bytes, 'x')).toBe(bytes.length)
          expect(parseNpyHeader(bytes, 'x')).toEqual({ name: 'x', dtype, shape, dataOffset: bytes.length })
        },
      ),
    )
  })

  it.each([1, 2, 3])('reads version %d', (version) => {
    const bytes = header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", version)

    expect(parseNpyHeader(bytes, 'x')).toMatchObject({ dtype: 'float32', shape: [3, 4], dataOffset: bytes.length })
  })

  it('reads other spellings of the dictionary', () => {
    const bytes = header('{"shape": (3L,), "fortran_order": False, "descr": "|u1"}')

    expect(parseNpyHeader(bytes, 'x')).toMatchObject({ dtype: 'uint8', shape: [3] })
  })

  it.each([
    ["{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }", /"x" is big-endian .*astype\("<f4"\)/],
    ["{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", /"x" is in Fortran order.*ascontiguousarray/],
    ["{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", /"x" holds Python objects.*astype/],
    ["{'descr': '<U3', 'fortran_order': False, 'shape': (3,), }", /"x" has dtype "<U3".*astype/],
    ["{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", /"x" has dtype "<c8"/],
    ["{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", /"x" has a structured dtype/],
    ["{'descr': '<f4', 'shape': (3,), }", /"x" has a damaged .npy header/],
  ])('refuses %s', (dictionary, message) => {
    expect(() => parseNpyHeader(header(dictionary), 'x')).toThrow(
      expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(message) }),
    )
  })

  it('refuses other files, other versions and absurd headers', () => {
    expect(() => npyHeaderBytes(Buffer.from('PK\x03\x04 and so on and on'), 'x')).toThrow(/not in NumPy .npy format/)
    expect(() => npyHeaderBytes(Buffer.from('\x93NUM', 'latin1'), 'x')).toThrow(/not in NumPy .npy format/)
    expect(() => npyHeaderBytes(header('', 9), 'x')).toThrow(/version 9/)
    const huge = Buffer.from(header('', 2))
    huge.writeUInt32LE(2 ** 31, 8)
    expect(() => npyHeaderBytes(huge, 'x')).toThrow(/header of 2147483660 bytes/)
  })

  it('knows the size of an array, a scalar included', () => {
    expect(arraySizeBytes({ dtype: 'float16', shape: [3, 5] })).toBe(30)
    expect(arraySizeBytes({ dtype: 'int64', shape: [] })).toBe(8)
  })
})

describe('toNumbers', () => {
  it('decodes float16 bits', () => {
    const bits = Uint16Array.from([0x0000, 0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff, 0x7c00])

    expect([...toNumbers(bits, 'float16')]).toEqual([
      0,
      1,
      -2,
      0.333251953125,
      2 ** -24,
      65504,
      Number.POSITIVE_INFINITY,
    ])
  })
})
