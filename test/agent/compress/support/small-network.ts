import { floatTensor, intsValue, type Model, type Tensor } from '@edgefit/shared/onnx'
import { modelOf, op, randomTensor } from './graphs.ts'

export const SMALL_DIMS = [1, 4, 8, 8]

interface Parts {
  readonly constants?: readonly Tensor[]
  readonly dims?: readonly (number | string)[]
}

/** LayerNormalization, products and convolutions with BatchNormalization: something for every pass. `constants` take the place of those of their name. */
export function smallNetwork({ constants = [], dims = SMALL_DIMS }: Parts = {}): Model {
  const usual = [
    randomTensor('w1', [8, 4, 3, 3], 1, 0.4),
    randomTensor('gamma', [8], 2),
    randomTensor('beta', [8], 3),
    randomTensor('mean', [8], 4),
    floatTensor(
      'variance',
      [8],
      Float32Array.from({ length: 8 }, (_, at) => 0.5 + at),
    ),
    randomTensor('w2', [8, 8, 3, 3], 5, 0.3),
    randomTensor('b2', [8], 6),
    randomTensor('scale', [8], 7),
    randomTensor('w3', [8, 32], 8),
    randomTensor('w4', [32, 6], 9),
    randomTensor('b4', [6], 10),
  ]
  const given = new Set(constants.map(({ name }) => name))
  return modelOf({
    inputs: { x: dims },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a', { pads: intsValue([1, 1, 1, 1]) }),
      op('BatchNormalization', 'a gamma beta mean variance -> n'),
      op('Relu', 'n -> r'),
      op('Conv', 'r w2 b2 -> c', { pads: intsValue([1, 1, 1, 1]) }),
      op('Relu', 'c -> d'),
      op('GlobalAveragePool', 'd -> g'),
      op('Flatten', 'g -> f'),
      op('LayerNormalization', 'f scale -> l'),
      op('MatMul', 'l w3 -> h'),
      op('Relu', 'h -> i'),
      op('Gemm', 'i w4 b4 -> y'),
    ],
    constants: [...usual.filter(({ name }) => !given.has(name)), ...constants],
  })
}
