import { describe, expect, it } from 'vitest'
import { toHalfBits } from '../../../../agent/compress/to-float16/half.ts'

const bitsOf = (value: number) => toHalfBits(Float32Array.of(value))[0]

/** What the bits stand for, by the definition of binary16. */
function realOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

describe('float16', () => {
  it.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [2 ** -24, 0x0001],
    [2 ** -14, 0x0400],
    // Ties go to the even one.
    [2 ** -25, 0x0000],
    [3 * 2 ** -25, 0x0002],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    // Beyond the range finite values saturate.
    [65520, 0x7bff],
    [-1e9, 0xfbff],
    [Number.POSITIVE_INFINITY, 0x7c00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    [Number.NaN, 0x7e00],
  ])('of %d is 0x%s', (value, bits) => {
    expect(bitsOf(value)).toBe(bits)
  })

  it('takes every finite float16 to itself, and what lies between to the nearer neighbour', () => {
    const wrong: number[] = []
    for (let bits = 0; bits < 0x7bff; bits++) {
      const [value, next] = [realOf(bits), realOf(bits + 1)]
      const found = toHalfBits(Float32Array.of(value, value + (next - value) * 0.49, value + (next - value) * 0.51))
      if (found[0] !== bits || found[1] !== bits || found[2] !== bits + 1) wrong.push(bits)
    }
    expect(wrong).toEqual([])
  })
})
