import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { finiteCheck } from '../../../shared/dataset/finite-check.ts'
import type { NpyHeader } from '../../../shared/dataset/npy.ts'

const OFFSET = 80

/** Feeds a file of `values` in pieces of the given sizes and says which row is refused. */
function refusedRow(
  values: Float32Array | Float64Array,
  rowLength: number,
  sizes: readonly number[],
): number | undefined {
  const dtype = values instanceof Float32Array ? 'float32' : 'float64'
  const header: NpyHeader = { name: 'x', dtype, shape: [values.length / rowLength, rowLength], dataOffset: OFFSET }
  const file = Buffer.concat([Buffer.alloc(OFFSET, 0xff), new Uint8Array(values.buffer)])
  const check = finiteCheck(header)
  try {
    for (let at = 0, step = 0; at < file.length; step += 1) {
      const size = sizes[step % sizes.length] ?? 1
      check(file.subarray(at, at + size))
      at += size
    }
  } catch (error) {
    return (error as { details: { row: number } }).details.row
  }
  return undefined
}

describe('finiteCheck', () => {
  it('finds the first bad row however the file is cut', () => {
    const bad = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)
    const number = fc.oneof(
      { weight: 20, arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true }) },
      { weight: 1, arbitrary: bad },
    )
    const rows = fc.array(fc.array(number, { minLength: 3, maxLength: 3 }), { minLength: 1, maxLength: 20 })
    const sizes = fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(rows, sizes, fc.boolean(), (table, pieces, wide) => {
        const values = (wide ? Float64Array : Float32Array).from(table.flat())
        const expected = table.findIndex((row) => row.some((value) => !Number.isFinite(value)))
        expect(refusedRow(values, 3, pieces)).toBe(expected === -1 ? undefined : expected)
      }),
      { numRuns: 300 },
    )
  })

  it('lets the largest finite values pass', () => {
    expect(refusedRow(Float32Array.from([3.4028234663852886e38, -3.4028234663852886e38]), 1, [7])).toBeUndefined()
    expect(refusedRow(Float64Array.from([Number.MAX_VALUE, -Number.MAX_VALUE]), 1, [7])).toBeUndefined()
  })

  it('knows float16 and leaves integers alone', () => {
    const header = { name: 'x', shape: [2], dataOffset: 0 }
    const largest = new Uint8Array(Uint16Array.from([0x7bff, 0xfbff]).buffer)
    const infinite = new Uint8Array(Uint16Array.from([0x7bff, 0xfc00]).buffer)

    expect(() => finiteCheck({ ...header, dtype: 'float16' })(largest)).not.toThrow()
    expect(() => finiteCheck({ ...header, dtype: 'float16' })(infinite)).toThrow(
      /array "x" has a NaN or infinite value in row 1/,
    )
    expect(() => finiteCheck({ ...header, dtype: 'int16' })(infinite)).not.toThrow()
  })
})
