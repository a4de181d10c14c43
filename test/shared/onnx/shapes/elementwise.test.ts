import { describe } from 'vitest'
import { intValue } from '../../../../shared/onnx/index.ts'
import { one, runtimeShapeTests, scalar } from '../support/operator-case.ts'

const image = [1, 4, 11, 9]

describe('the inferred output', () => {
  runtimeShapeTests([
    {
      op: 'Add',
      inputs: [
        [2, 1, 3],
        [4, 1],
      ],
    },
    { op: 'Equal', inputs: [[2, 3], [3]] },
    { op: 'Where', inputs: [{ name: '', dataType: 'BOOL', dims: [2, 1], data: Uint8Array.of(0, 1) }, [3], [1]] },
    {
      op: 'PRelu',
      inputs: [
        [2, 3, 4],
        [3, 1],
      ],
    },
    { op: 'Clip', inputs: [image, one(0), one(6)] },
    { op: 'Max', inputs: [[2, 1], [1, 3], [3]] },
    { op: 'InstanceNormalization', inputs: [image, [4], [4]] },
    { op: 'Softmax', inputs: [image] },
    { op: 'CumSum', inputs: [[2, 5], scalar(1)] },
    { op: 'Trilu', inputs: [[3, 3]] },
    { op: 'HardSigmoid', inputs: [[2]], attributes: {} },
    { op: 'Mish', opset: 18, inputs: [[2, 3]] },
    { op: 'Gelu', opset: 20, inputs: [[2, 3]] },
    { op: 'GroupNormalization', opset: 21, inputs: [[1, 4, 3], [4], [4]], attributes: { num_groups: intValue(2) } },
  ])
})
