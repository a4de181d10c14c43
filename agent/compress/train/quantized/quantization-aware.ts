import { elementCount, indexGraph, inferShapes, type Model, type Node } from '@edgefit/shared/onnx'
import type { Interval } from '../../affine.ts'
import { groupParams } from '../../quantize-static/group-params.ts'
import { insertQdq } from '../../quantize-static/insert-qdq.ts'
import {
  type QuantizeStaticOptions,
  quantizeStatic,
  type StaticQuantization,
} from '../../quantize-static/quantize-static.ts'
import { withRemovableChannels } from '../removable-channels.ts'
import type { Numbers } from '../run-step.ts'
import type { Optimizer } from '../step/optimizers.ts'
import type { Penalty } from '../step/penalties.ts'
import type { Trainee } from '../train.ts'
import { type TrainableScope, type TrainableWeight, trainableWeights } from '../trainable.ts'
import { withWeights } from '../with-weights.ts'
import { fakeQuantizer } from './fake-quantize.ts'
import { type GroupToLearn, learnedRanges } from './learned-ranges.ts'
import { learnedScales } from './learned-scales.ts'
import { scalesFromWeights } from './scales-from-weights.ts'

export interface QuantizationAware {
  /** Quantizes and dequantizes where the exported model does; gradients pass straight through (arXiv 1308.3432). */
  readonly trainee: Trainee
  /** The quantized model with these weights. */
  exported(weights: Numbers): Model
  /** What stays in float, and why. */
  readonly notes: readonly string[]
}

export interface WhatIsLearned {
  readonly scope: TrainableScope
  readonly penalties?: readonly Penalty[]
  readonly optimizer: Optimizer['kind']
  readonly weightScales: 'from-weights' | 'learned'
  readonly activationRanges: 'frozen' | 'learned'
}

/**
 * A model in the form in which quantization-aware training sees it (Jacob et al., arXiv 1712.05877): activations with
 * their calibrated ranges, frozen or learned from there, weights with scales that follow them or are learned as well.
 *
 * @param model float32, batch normalization folded
 * @param ranges as `quantizeStatic` wants them
 * @throws EdgefitError as `quantizeStatic` does; MODEL_UNSUPPORTED when there is no weight to train.
 */
export function quantizationAware(
  model: Model,
  options: QuantizeStaticOptions,
  ranges: ReadonlyMap<string, Interval>,
  { scope, penalties = [], optimizer, weightScales, activationRanges }: WhatIsLearned,
): QuantizationAware {
  const quantization = quantizeStatic(model, options)
  const { prepared, plan } = quantization
  const trained = withRemovableChannels(prepared, trainableWeights(prepared, scope), penalties)
  const barriers = new Set<string>()
  const opset = prepared.opsetImports.get('') ?? 1
  const fixed = scalesFromWeights(barriers)
  const scales = learnedScales(optimizer, barriers)
  const layers = trainedLayers(quantization, trained)
  const activations = learnedRanges({
    groups: activationRanges === 'learned' ? groupsToLearn(quantization, layers) : new Map(),
    type: options.activations,
    opset,
    optimizer,
    barriers,
  })
  const graph = insertQdq(prepared.graph, plan, groupParams(plan, ranges, options.activations), options, {
    layers: fakeQuantizer(opset, (emit, weights) =>
      (weightScales === 'learned' && layers.has(weights.layer.node) ? scales.write : fixed)(emit, weights),
    ),
    params: activations.write,
  })
  return {
    trainee: {
      model: { ...prepared, graph },
      trainable: [...trained, ...scales.trainable, ...activations.trainable],
      barriers,
    },
    notes: plan.notes,
    exported: (weights) => {
      const learned = scales.exported(weights)
      return quantizeStatic(withWeights(prepared, learned.weights), { ...options, leastScales: learned.scales }).apply(
        activations.exported(ranges, weights),
      ).model
    },
  }
}

/** Layers of which something is trained. */
function trainedLayers({ plan }: StaticQuantization, trained: readonly TrainableWeight[]): ReadonlySet<Node> {
  const names = new Set(trained.map(({ name }) => name))
  return new Set(plan.layers.flatMap(({ node }) => (node.inputs.some((value) => names.has(value)) ? [node] : [])))
}

/** Those that something reads from the first trained layer on: a gradient reaches them without going further. */
function groupsToLearn(
  { prepared, plan }: StaticQuantization,
  trained: ReadonlySet<Node>,
): ReadonlyMap<string, GroupToLearn> {
  const index = indexGraph(inferShapes(prepared).graph)
  const { nodes } = prepared.graph
  const reached = new Set(nodes.slice(nodes.findIndex((node) => trained.has(node))))
  const elements = new Map<string, number>()
  for (const { tensor, leader, readers } of plan.points) {
    if (!readers.some((reader) => reached.has(reader))) continue
    // Without the batch; a length that is not fixed counts as one.
    const dims = (index.shapeOf(tensor) ?? []).slice(1).map((length) => (typeof length === 'number' ? length : 1))
    elements.set(leader, (elements.get(leader) ?? 0) + elementCount(dims))
  }
  return new Map(
    plan.groups.flatMap((group) => {
      const count = elements.get(group.leader)
      return count === undefined || group.fixed !== undefined ? [] : [[group.leader, { ...group, elements: count }]]
    }),
  )
}
