import { describe, it } from 'vitest'
import { intsValue, intValue, stringValue, uint8Tensor } from '../../../../shared/onnx/index.ts'
import { mulberry32 } from '../real-models.ts'
import { expectRuntimeShape, runtimeShapeTests } from '../support/operator-case.ts'

const image = [1, 4, 11, 9]
const kernel3 = { kernel_shape: intsValue([3, 3]) }

describe('the inferred output', () => {
  runtimeShapeTests([
    { op: 'GlobalAveragePool', inputs: [image] },
    {
      op: 'Conv',
      inputs: [
        [1, 4, 12],
        [6, 2, 3],
      ],
      attributes: { group: intValue(2), strides: intsValue([2]) },
    },
    {
      op: 'ConvTranspose',
      inputs: [image, [4, 3, 3, 3]],
      attributes: { output_shape: intsValue([23, 19]), strides: intsValue([2, 2]) },
    },
    {
      op: 'ConvTranspose',
      inputs: [image, [4, 3, 3, 2]],
      attributes: { auto_pad: stringValue('SAME_UPPER'), strides: intsValue([2, 2]) },
    },
    {
      op: 'MaxPool',
      inputs: [image],
      attributes: { ...kernel3, auto_pad: stringValue('SAME_UPPER'), strides: intsValue([2, 2]) },
      outputs: 2,
    },
    {
      op: 'AveragePool',
      inputs: [image],
      attributes: { ...kernel3, auto_pad: stringValue('SAME_LOWER'), strides: intsValue([3, 2]) },
    },
    {
      op: 'MaxPool',
      inputs: [image],
      attributes: { ...kernel3, auto_pad: stringValue('VALID'), strides: intsValue([2, 2]) },
    },
    {
      op: 'ConvInteger',
      inputs: [
        uint8Tensor('', [1, 1, 2, 2], Uint8Array.of(1, 2, 3, 4)),
        uint8Tensor('', [1, 1, 1, 1], Uint8Array.of(1)),
      ],
    },
    {
      op: 'AveragePool',
      opset: 19,
      inputs: [[1, 2, 9, 9]],
      attributes: {
        kernel_shape: intsValue([2, 2]),
        dilations: intsValue([2, 3]),
        strides: intsValue([2, 2]),
        pads: intsValue([0, 1, 1, 0]),
        ceil_mode: intValue(1),
      },
    },
    {
      op: 'LpPool',
      opset: 18,
      inputs: [[1, 2, 9, 9]],
      attributes: {
        kernel_shape: intsValue([3, 2]),
        dilations: intsValue([1, 2]),
        ceil_mode: intValue(1),
        strides: intsValue([2, 2]),
      },
    },
  ])

  it('of random windows is what the runtime makes', async () => {
    const random = mulberry32(11)
    const upTo = (most: number): number => 1 + Math.floor(random() * most)
    for (let round = 0; round < 120; round++) {
      const op = (['Conv', 'MaxPool', 'AveragePool', 'ConvTranspose'] as const)[round % 4] ?? 'Conv'
      const kernel = [upTo(4), upTo(4)]
      const isPool = op.endsWith('Pool')
      const pads = Array.from({ length: 4 }, (_, side) => Math.floor(random() * (kernel[side % 2] ?? 1)))
      const dilations = op === 'AveragePool' ? [1, 1] : [upTo(2), upTo(2)]
      await expectRuntimeShape({
        op,
        inputs: [[1, 2, 7 + upTo(8), 7 + upTo(8)], ...(isPool ? [] : [[2, 2, ...kernel]])],
        attributes: {
          kernel_shape: intsValue(kernel),
          strides: intsValue([upTo(3), upTo(3)]),
          pads: intsValue(pads),
          ...(op === 'AveragePool' ? {} : { dilations: intsValue(dilations) }),
          ...(isPool ? { ceil_mode: intValue(round % 8 < 4 ? 1 : 0) } : {}),
        },
      })
    }
  })
})
