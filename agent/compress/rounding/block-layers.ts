import { quantizeBlocks, realOfBlocks } from '../weight-only/quantize-blocks.ts'
import type { WeightOnlyOptions, WeightOnlyQuantization } from '../weight-only/weight-only.ts'
import type { Roundable, RoundableLayer } from './round-adaptively.ts'

/** What weight-only quantization rounds. Activations keep their names. */
export function blockLayers({ prepared, layers, apply }: WeightOnlyQuantization, format: WeightOnlyOptions): Roundable {
  return {
    float: prepared,
    layers: layers.map(
      ({ node, weights, bias, outputAxis }): RoundableLayer => ({
        node,
        weights,
        bias,
        dequantized: (roundUp) =>
          realOfBlocks(quantizeBlocks(weights, outputAxis, format, roundUp), outputAxis, format.blockSize),
      }),
    ),
    quantized: (roundings) => apply(roundings).model,
    inputOf: (_, { node }) => node.inputs[0] ?? '',
  }
}
