import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { decodeModel, encodeModel, floatTensor, node, tensorBorders, tensorValue } from '../../../shared/onnx/index.ts'
import { mulberry32, realModels } from './real-models.ts'
import { add, smallModel, weight } from './small-model.ts'

const big = floatTensor('big', [2048], new Float32Array(2048).fill(0.5))

describe('tensorBorders', () => {
  it.each(realModels)('of $name enclose the large initializers', async ({ path }) => {
    const bytes = encodeModel(decodeModel(await readFile(path)))
    const borders = tensorBorders(bytes)
    const starts = new Set(borders)

    const { graph } = decodeModel(bytes)

    const large = [...graph.initializers.values()].filter(({ data }) => data.byteLength >= 4096)
    for (const { data } of large) {
      const start = data.byteOffset - bytes.byteOffset
      expect(starts.has(start) && starts.has(start + data.byteLength)).toBe(true)
    }
    expect(borders).toEqual([...starts].sort((a, b) => a - b))
    expect(borders.length).toBeGreaterThanOrEqual(large.length)
  })

  it('let a model with one weight changed share all other bytes between borders', () => {
    const weights = (value: number) => [floatTensor('changed', [2048], new Float32Array(2048).fill(value)), big]
    const [before, after] = [1, 2].map((value) =>
      encodeModel(smallModel([add('x', 'changed', 'a'), add('a', 'big', 'y')], ['y'], weights(value))),
    ) as [Uint8Array, Uint8Array]

    const pieces = (bytes: Uint8Array): string[] => {
      const cuts = [0, ...tensorBorders(bytes), bytes.byteLength]
      return cuts.slice(1).map((end, position) => Buffer.from(bytes.subarray(cuts[position], end)).toString('base64'))
    }
    const old = new Set(pieces(before))

    expect(pieces(after).filter((piece) => !old.has(piece))).toHaveLength(1)
  })

  it('see tensors inside Constant nodes, and only tensors of the size asked for', () => {
    const constant = node({
      opType: 'Constant',
      inputs: [],
      outputs: ['k'],
      attributes: { value: tensorValue({ ...big, name: '' }) },
    })
    const bytes = encodeModel(smallModel([constant, add('x', 'k', 'y')], ['y'], [weight('w', 1, 2)]))

    expect(tensorBorders(bytes)).toHaveLength(2)
    expect(tensorBorders(bytes, 8)).toHaveLength(4)
    expect(tensorBorders(bytes, 8193)).toEqual([])
  })

  it('are empty for bytes that are no model', () => {
    const random = mulberry32(21)
    for (let round = 0; round < 200; round++) {
      expect(
        tensorBorders(
          Uint8Array.from({ length: 500 }, () => random() * 256),
          1,
        ),
      ).toEqual([])
    }
    expect(tensorBorders(new Uint8Array())).toEqual([])
    expect(tensorBorders(new TextEncoder().encode('PK\u0003\u0004 and so on'))).toEqual([])
  })

  it('are empty for a truncated model', () => {
    const bytes = encodeModel(smallModel([add('x', 'big', 'y')], ['y'], [big]))

    expect(tensorBorders(bytes.subarray(0, bytes.byteLength - 100))).toEqual([])
  })
})
