import { bindDimensions, type Model, symbolicDimensions, type ValueInfo } from '@edgefit/shared/onnx'
import type { LatencyPredictor } from '../latency/latency-predictor.ts'
import type { FeedTensor } from '../runtime-port.ts'
import type { DependencyGroups } from './dependency-groups.ts'
import { cutShape, removeChannels } from './remove-channels.ts'

/** Predicted latency of the model without each of these sets of channels, in ms. */
export type PredictCuts = (cuts: readonly ReadonlySet<number>[]) => Promise<readonly number[]>

/** @param feeds of one sample: the lengths that the model's inputs leave open */
export function cutPredictor(
  from: DependencyGroups,
  predictor: LatencyPredictor,
  feeds: Readonly<Record<string, FeedTensor>>,
  signal: AbortSignal,
): PredictCuts {
  return async (cuts) => {
    signal.throwIfAborted()
    const models = cuts.map((removed) => bound(removeChannels(from, removed, cutShape), feeds))
    return await predictor.predictMs(models, signal)
  }
}

/** `model` with the lengths of `feeds`, wherever its inputs leave them open. */
function bound(model: Model, feeds: Readonly<Record<string, FeedTensor>>): Model {
  const open = symbolicDimensions(model)
  const lengths = model.graph.inputs.flatMap(({ name, type }) =>
    type?.kind === 'tensor'
      ? (type.shape ?? []).flatMap((dim, axis): [string, number][] =>
          typeof dim === 'string' && open.has(dim) ? [[dim, feeds[name]?.dims[axis] ?? 1]] : [],
        )
      : [],
  )
  const { graph, ...rest } = bindDimensions(model, Object.fromEntries(lengths))
  const inputs = graph.inputs.map((input): ValueInfo => {
    const { name, type } = input
    if (type?.kind !== 'tensor' || !type.shape?.includes(undefined)) return input
    return { ...input, type: { ...type, shape: type.shape.map((dim, axis) => dim ?? feeds[name]?.dims[axis]) } }
  })
  return { ...rest, graph: { ...graph, inputs } }
}
