import { describe } from 'vitest'
import { intValue } from '../../../../shared/onnx/index.ts'
import { runtimeShapeTests } from '../support/operator-case.ts'

const image = [1, 4, 11, 9]

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'BatchNormalization', inputs: [image, [4], [4], [4], [4]] },
    {
      op: 'BatchNormalization',
      inputs: [image, [4], [4], [4], [4]],
      attributes: { training_mode: intValue(1) },
      outputs: 3,
    },
    {
      op: 'LayerNormalization',
      inputs: [
        [2, 3, 4],
        [3, 4],
      ],
      attributes: { axis: intValue(1) },
      outputs: 3,
    },
    { op: 'Dropout', inputs: [image], outputs: 2 },
  ])
})
