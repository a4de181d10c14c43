import type { Model } from '@edgefit/shared/onnx'
import { dependencyGroups } from '../prune/dependency-groups.ts'
import type { Penalty } from './step/penalties.ts'
import type { RemovableChannels, TrainableWeight } from './trainable.ts'

/**
 * `weights` with the channels of `model` that pruning can remove, where a penalty presses on them: all that makes a
 * channel, and is to be zero for it to be gone, over residual joins, depthwise convolutions and normalizations (Fang et
 * al., "DepGraph", arXiv 2301.12900). What reads it is no part of it: that makes channels of its own. Channels that a
 * kernel or matrix beyond these makes as well are left out.
 *
 * @param model float32, with the initializers that `weights` name
 */
export function withRemovableChannels(
  model: Model,
  weights: readonly TrainableWeight[],
  penalties: readonly Penalty[],
): readonly TrainableWeight[] {
  if (!penalties.some(({ kind }) => kind === 'group-lasso')) return weights
  const byName = new Map(weights.map((weight) => [weight.name, weight]))
  const found = new Map<string, RemovableChannels>()
  let count = 0
  for (const { channels, members } of dependencyGroups(model).groups) {
    const makers = members.filter(({ role }) => role !== 'reader')
    const filters = makers.filter(({ role }) => role === 'filter')
    const trained = makers.filter(({ tensor }) => byName.has(tensor))
    const axisOf = (tensor: string) => (found.get(tensor) ?? trained.find((one) => one.tensor === tensor))?.axis
    const isWhole = filters.length > 0 && filters.every(({ tensor }) => byName.has(tensor))
    if (!isWhole || trained.some(({ tensor, axis }) => axisOf(tensor) !== axis)) continue
    for (const { tensor, axis, positions } of trained) {
      const length = byName.get(tensor)?.dims[axis] ?? 0
      const { numbers, spans } = found.get(tensor) ?? { numbers: new Int32Array(length).fill(-1), spans: [] }
      found.set(tensor, { axis, numbers, spans: [...spans, [count, count + channels.length]] })
      for (const [channel, own] of positions.entries()) for (const at of own) numbers[at] = count + channel
    }
    count += channels.length
  }
  return weights.map((weight) => {
    const removable = found.get(weight.name)
    return removable === undefined ? weight : { ...weight, removable }
  })
}
