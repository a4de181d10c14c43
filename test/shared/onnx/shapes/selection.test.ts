import { describe, it } from 'vitest'
import { int64Tensor, intsValue, intValue, stringValue } from '../../../../shared/onnx/index.ts'
import { mulberry32 } from '../real-models.ts'
import { expectRuntimeShape, floats, ints, runtimeShapeTests, scalar } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    {
      op: 'Concat',
      inputs: [
        [2, 3],
        [2, 1],
        [2, 4],
      ],
      attributes: { axis: intValue(-1) },
    },
    { op: 'Gather', inputs: [[2, 3, 4], int64Tensor('', [2, 2], [0, 1, 1, 0])], attributes: { axis: intValue(1) } },
    { op: 'Gather', inputs: [[2, 3, 4], scalar(-1)], attributes: { axis: intValue(-1) } },
    {
      op: 'GatherElements',
      inputs: [[2, 3], int64Tensor('', [2, 2], [0, 1, 1, 0])],
      attributes: { axis: intValue(1) },
    },
    { op: 'GatherND', inputs: [[2, 3, 4], int64Tensor('', [2, 1], [0, 1])], attributes: { batch_dims: intValue(1) } },
    {
      op: 'OneHot',
      inputs: [int64Tensor('', [2, 3], [0, 1, 2, 0, 1, 2]), scalar(5), floats(0, 1)],
      attributes: { axis: intValue(1) },
    },
    { op: 'Pad', inputs: [[2, 3], ints(1, 0, 0, 2)] },
    { op: 'Pad', opset: 18, inputs: [[2, 3, 4], ints(1, 2), null, ints(-1)] },
    { op: 'Pad', opset: 9, inputs: [[2, 3]], attributes: { pads: intsValue([0, 1, 1, 0]) } },
    {
      op: 'Slice',
      opset: 9,
      inputs: [[5, 6]],
      attributes: { starts: intsValue([1]), ends: intsValue([-1]), axes: intsValue([1]) },
    },
    { op: 'Slice', inputs: [[5, 6], ints(-1), ints(-100), ints(0), ints(-1)] },
    { op: 'Slice', inputs: [[5, 6], ints(2, 0), ints(2 ** 31, 3)] },
    { op: 'Split', inputs: [[7, 2], ints(3, 4)], outputs: 2 },
    { op: 'Split', inputs: [[6, 2]], outputs: 3 },
    { op: 'Split', opset: 18, inputs: [[7, 2]], attributes: { num_outputs: intValue(3) }, outputs: 3 },
    {
      op: 'Split',
      opset: 11,
      inputs: [[2, 7]],
      attributes: { axis: intValue(1), split: intsValue([2, 5]) },
      outputs: 2,
    },
    { op: 'Pad', opset: 19, inputs: [[3, 4], ints(1, 0, 0, 2)], attributes: { mode: stringValue('wrap') } },
  ])

  it('of random slices is what the runtime makes', async () => {
    const random = mulberry32(12)
    const between = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1))
    for (let round = 0; round < 100; round++) {
      const step = between(1, 3) * (round % 2 === 0 ? 1 : -1)
      await expectRuntimeShape({
        op: 'Slice',
        inputs: [[6, 5], ints(between(-8, 8)), ints(between(-8, 8)), ints(between(-2, 1)), ints(step)],
      })
    }
  })
})
