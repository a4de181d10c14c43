import { describe } from 'vitest'
import { intsValue, intValue } from '../../../../shared/onnx/index.ts'
import { ints, runtimeShapeTests } from '../support/operator-case.ts'

const image = [1, 4, 11, 9]

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'Reshape', inputs: [[2, 3, 4], ints(0, -1)] },
    { op: 'Reshape', inputs: [[2, 3, 4], ints(4, -1, 3)] },
    { op: 'Reshape', inputs: [[2, 0, 4], ints(0, 0, 4)], attributes: { allowzero: intValue(0) }, opset: 14 },
    { op: 'Flatten', inputs: [image], attributes: { axis: intValue(-2) } },
    { op: 'Flatten', inputs: [image], attributes: { axis: intValue(0) } },
    { op: 'Squeeze', inputs: [[1, 3, 1]] },
    { op: 'Squeeze', inputs: [[1, 3, 1], ints(-1)] },
    { op: 'Squeeze', opset: 11, inputs: [[1, 3, 1]], attributes: { axes: intsValue([0]) } },
    { op: 'Unsqueeze', inputs: [[3, 4], ints(0, -1)] },
    { op: 'Unsqueeze', opset: 11, inputs: [[3, 4]], attributes: { axes: intsValue([1, 3]) } },
    { op: 'Transpose', inputs: [[2, 3, 4]] },
    { op: 'Transpose', inputs: [[2, 3, 4]], attributes: { perm: intsValue([1, 0, 2]) } },
    { op: 'Expand', inputs: [[3, 1], ints(2, 1, 4)] },
    { op: 'Tile', inputs: [[3, 1], ints(2, 4)] },
    { op: 'DepthToSpace', inputs: [[1, 8, 3, 2]], attributes: { blocksize: intValue(2) } },
    { op: 'SpaceToDepth', inputs: [[1, 2, 4, 6]], attributes: { blocksize: intValue(2) } },
    { op: 'Reshape', opset: 21, inputs: [[2, 3, 4], ints(0, -1)] },
  ])
})
