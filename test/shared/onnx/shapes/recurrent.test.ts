import { describe } from 'vitest'
import { intValue, stringValue } from '../../../../shared/onnx/index.ts'
import { runtimeShapeTests } from '../support/operator-case.ts'

describe('the inferred output', () => {
  runtimeShapeTests([
    {
      op: 'LSTM',
      inputs: [
        [7, 2, 3],
        [1, 20, 3],
        [1, 20, 5],
      ],
      attributes: { hidden_size: intValue(5) },
      outputs: 3,
    },
    {
      op: 'GRU',
      inputs: [
        [7, 2, 3],
        [2, 15, 3],
        [2, 15, 5],
      ],
      attributes: { hidden_size: intValue(5), direction: stringValue('bidirectional') },
      outputs: 2,
    },
  ])
})
