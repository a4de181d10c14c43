import { describe, expect, it } from 'vitest'
import { inferShapes, int64Tensor, intsValue, intValue, node, tensorValue } from '../../../../shared/onnx/index.ts'
import { smallModel } from '../small-model.ts'
import { ints, modelOf, type OperatorCase, scalar } from '../support/operator-case.ts'

describe('inferShapes of a damaged model', () => {
  const zeros = int64Tensor('', [0], [])
  it.each([
    ['a pool over a vector', { op: 'MaxPool', inputs: [[5]], attributes: { kernel_shape: intsValue([3]) } }],
    ['a fill with nothing', { op: 'ConstantOfShape', inputs: [ints(2)], attributes: { value: tensorValue(zeros) } }],
    ['a range that never ends', { op: 'Range', inputs: [scalar(0), scalar(5), scalar(0)] }],
    ['a slice of billions', { op: 'Slice', inputs: [[2 ** 40], ints(0), ints(2 ** 40 - 1)] }],
    ['a shape of absurd rank', { op: 'Reshape', inputs: [[2], [2 ** 40]] }],
    ['an axis outside the rank', { op: 'Softmax', inputs: [[2]], attributes: { axis: intValue(9) } }],
    ['a split along no axis', { op: 'Split', inputs: [[2]], attributes: { axis: intValue(3) }, outputs: 2 }],
  ] satisfies [string, OperatorCase][])('gets through %s', (_, test) => {
    expect(() => inferShapes(modelOf(test))).not.toThrow()
  })

  it('does not grow a chain of doublings', () => {
    const length = 60
    const nodes = Array.from({ length }, (_, position) =>
      node({
        opType: 'Concat',
        inputs: [`v${position}`, `v${position}`],
        outputs: [`v${position + 1}`],
        attributes: { axis: intValue(0) },
      }),
    )
    const doubled = smallModel(nodes, [`v${length}`], [int64Tensor('v0', [1], [1])])

    expect(() => inferShapes(doubled)).not.toThrow()
  })
})
