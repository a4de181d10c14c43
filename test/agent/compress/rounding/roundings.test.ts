import { floatTensor } from '@edgefit/shared/onnx'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { embeddedRoundings, isUp, readRoundings, roundUpWhere } from '../../../../agent/compress/rounding/roundings.ts'

const tensor = (name: string, count: number) => floatTensor(name, [count], new Float32Array(count))

describe('roundings', () => {
  it('come back from a recipe as they went in', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), (ups) => {
        const bits = roundUpWhere(ups.length, (index) => ups[index] === true)

        const read = readRoundings(embeddedRoundings(new Map([['w', bits]])), [tensor('w', ups.length)]).get('w')

        expect(ups.map((_, index) => isUp(read ?? new Uint8Array(), index))).toEqual(ups)
      }),
    )
  })

  it('have the first weight in the lowest bit of the first byte', () => {
    expect([...roundUpWhere(10, (index) => index === 0 || index === 9)]).toEqual([1, 2])
  })

  it.each([
    ['other', tensor('w', 8), /weights "other", which are not quantized here/],
    ['w', tensor('w', 9), /weights "w", with 1 bytes of bits for 9 weights/],
  ])('of %s are refused where they do not fit', (name, weights, message) => {
    expect(() => readRoundings({ [name]: 'AA==' }, [weights])).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringMatching(message) }),
    )
  })
})
