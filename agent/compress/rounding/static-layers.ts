import { indexGraph, type Model } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import { groupParams } from '../quantize-static/group-params.ts'
import { type InsertOptions, layerWeights, paramsByTensor } from '../quantize-static/insert-qdq.ts'
import type { StaticQuantization } from '../quantize-static/quantize-static.ts'
import { dequantizeWeights } from '../quantize-weights.ts'
import type { Roundable, RoundableLayer } from './round-adaptively.ts'

/** What static quantization with these ranges rounds. */
export function staticLayers(
  { prepared, plan, apply }: StaticQuantization,
  options: InsertOptions,
  ranges: ReadonlyMap<string, Interval>,
): Roundable {
  const paramsOf = paramsByTensor(plan, groupParams(plan, ranges, options.activations))
  const { perChannel } = options.weights
  return {
    float: prepared,
    layers: plan.layers.map((layer): RoundableLayer => {
      const { node, weights, bias, axis } = layer
      return {
        node,
        weights,
        bias,
        dequantized: (roundUp) =>
          dequantizeWeights(
            weights.dims,
            layerWeights([layer], paramsOf, options, roundUp),
            perChannel ? axis : undefined,
          ),
      }
    }),
    quantized: (roundings) => apply(ranges, roundings).model,
    inputOf,
  }
}

/** Around it values get pairs and new names; its output is found behind its own pair, or has kept its name. */
function inputOf({ graph }: Model, { node }: RoundableLayer): string {
  const index = indexGraph(graph)
  let producer = index.producer(node.outputs[0] ?? '')
  while (producer !== undefined && producer.opType !== node.opType) producer = index.producer(producer.inputs[0] ?? '')
  if (producer === undefined) throw new RangeError(`layer "${node.name}" is not in the quantized model`)
  return producer.inputs[0] ?? ''
}
