import { intsValue, type Model } from '@edgefit/shared/onnx'
import { modelOf, op, randomTensor } from '../support/graphs.ts'

interface Chain {
  readonly channels: number
  readonly layers: number
  readonly side: number
}

/** 3x3 convolutions one after the other, each with Relu, from as many channels to as many. */
export function convolutionChain({ channels, layers, side }: Chain): Model {
  const each = Array.from({ length: layers }, (_, layer) => layer)
  return modelOf({
    inputs: { x0: [1, channels, side, side] },
    outputs: [`x${layers}`],
    nodes: each.flatMap((layer) => [
      op('Conv', `x${layer} w${layer} b${layer} -> y${layer}`, { pads: intsValue([1, 1, 1, 1]) }),
      op('Relu', `y${layer} -> x${layer + 1}`),
    ]),
    constants: each.flatMap((layer) => [
      randomTensor(`w${layer}`, [channels, channels, 3, 3], layer + 1, 1 / (9 * channels)),
      randomTensor(`b${layer}`, [channels], layer + 101),
    ]),
  })
}
