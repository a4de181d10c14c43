import { expect, it } from 'vitest'
import { asInt64Numbers } from '../../../shared/onnx/index.ts'
import { decodedTensor, T } from './support/model-bytes.ts'

it('asInt64Numbers rounds what a number cannot hold', () => {
  const tensor = decodedTensor({ dataType: T.INT64, dims: [2n], int64Data: [9223372036854775807n, -3n] })

  expect(asInt64Numbers(tensor)).toEqual([2 ** 63, -3])
})
