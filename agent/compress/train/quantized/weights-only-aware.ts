import type { Model } from '@edgefit/shared/onnx'
import { planWeightsOnly, type WeightOnlyOptions } from '../../weight-only/weight-only.ts'
import { withRemovableChannels } from '../removable-channels.ts'
import { trainableWeights } from '../trainable.ts'
import { withWeights } from '../with-weights.ts'
import { blockScalesFromWeights } from './block-scales-from-weights.ts'
import { fakeBlocks } from './fake-blocks.ts'
import { learnedBlockScales } from './learned-block-scales.ts'
import type { QuantizationAware, WhatIsLearned } from './quantization-aware.ts'

/**
 * A model in the form in which training for weights of few bits sees it: matrices rounded block by block on their way,
 * activations in float, with scales that follow the weights or are learned as well.
 *
 * @param model float32
 * @throws EdgefitError as `planWeightsOnly` does; MODEL_UNSUPPORTED when there is no weight to train.
 */
export function weightsOnlyAware(
  model: Model,
  options: WeightOnlyOptions,
  { scope, penalties = [], optimizer, weightScales }: Omit<WhatIsLearned, 'activationRanges'>,
): QuantizationAware {
  const { prepared, layers, apply } = planWeightsOnly(model, options)
  const trained = withRemovableChannels(prepared, trainableWeights(prepared, scope), penalties)
  const names = new Set(trained.map(({ name }) => name))
  const barriers = new Set<string>()
  const fixed = blockScalesFromWeights(options, barriers)
  const learned = learnedBlockScales(optimizer, options, barriers)
  const opset = prepared.opsetImports.get('') ?? 1
  const graph = fakeBlocks(prepared.graph, opset, layers, options, (emit, blocks, layer) => {
    const learns = weightScales === 'learned' && layer.node.inputs.some((value) => names.has(value))
    return (learns ? learned.write : fixed)(emit, blocks, layer)
  })
  return {
    trainee: { model: { ...prepared, graph }, trainable: [...trained, ...learned.trainable], barriers },
    notes: apply().notes,
    exported: (weights) =>
      planWeightsOnly(withWeights(prepared, weights), options).apply(new Map(), (layer) =>
        learned.blocksOf(layer, weights),
      ).model,
  }
}
