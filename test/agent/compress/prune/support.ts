import {
  asFloat32,
  elementCount,
  floatTensor,
  indexGraph,
  inferShapes,
  type Model,
  type Tensor,
} from '@edgefit/shared/onnx'
import type { LatencyPredictor } from '../../../../agent/compress/latency/latency-predictor.ts'
import { type DependencyGroups, dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { type PruneChannelsPass, pruneChannels } from '../../../../agent/compress/prune/prune-channels.ts'
import { randomValues } from '../support/graphs.ts'

type RatioTarget = Extract<PruneChannelsPass['target'], { by: 'ratio' }>
export type RatioPruning = Partial<Omit<RatioTarget, 'by'>> & Partial<Omit<PruneChannelsPass, 'target'>>

/** Half of every layer, and nothing measured. */
export function pruning({
  ratio = 0.5,
  scope = 'per-layer',
  alignTo = 1,
  ...settings
}: RatioPruning = {}): PruneChannelsPass {
  return {
    pass: 'prune-channels',
    target: { by: 'ratio', ratio, scope, alignTo },
    importance: 'l2',
    exclude: [],
    ...settings,
  }
}

/** The pruned model, and the whole one in which only what makes the pruned channels is zero; other layers still read them. */
export function prunedAndZeroed(model: Model, settings: RatioPruning) {
  const { resolved, result } = pruneChannels(model, pruning(settings))
  const from = dependencyGroups(model)
  return { pruned: result.model, zeroed: withZeros(from, resolved.keep ?? {}), resolved, notes: result.notes }
}

function withZeros(from: DependencyGroups, keep: Readonly<Record<string, readonly number[]>>): Model {
  const initializers = new Map(from.model.graph.initializers)
  for (const { value, channels, members } of from.groups) {
    const kept = keep[value]
    if (kept === undefined) continue
    const stays = new Set(kept)
    const gone = channels.map(({ positions }) => !positions.some((position) => stays.has(position)))
    for (const { tensor, axis, role, positions } of members) {
      const before = initializers.get(tensor)
      if (before === undefined || role === 'reader') continue
      const zeros = new Set(positions.flatMap((own, channel) => (gone[channel] ? own : [])))
      initializers.set(tensor, zeroedAt(before, axis, zeros))
    }
  }
  return { ...from.model, graph: { ...from.model.graph, initializers } }
}

function zeroedAt(tensor: Tensor, axis: number, zeros: ReadonlySet<number>): Tensor {
  const inner = elementCount(tensor.dims.slice(axis + 1))
  const length = tensor.dims[axis] ?? 1
  const values = asFloat32(tensor).map((value, index) => (zeros.has(Math.floor(index / inner) % length) ? 0 : value))
  return floatTensor(tensor.name, tensor.dims, values)
}

/** Random weights of a scale that keeps activations within bounds, for models whose weights are all alike. */
export function withRandomWeights(model: Model): Model {
  const initializers = new Map(
    [...model.graph.initializers.values()].map((tensor, seed): [string, Tensor] => {
      if (tensor.dataType !== 'FLOAT') return [tensor.name, tensor]
      const { dims, name } = tensor
      const count = elementCount(dims)
      if (dims.length < 2) {
        // Biases, and normalization terms, of which the variance must be positive.
        return [
          name,
          floatTensor(
            name,
            dims,
            randomValues(count, seed + 1, 0.3).map((value) => value + 0.7),
          ),
        ]
      }
      const fanIn = elementCount(dims.slice(1))
      // A block over and over, of a length that is no multiple of any layer's.
      const block = randomValues(Math.min(count, 65_537), seed + 1, Math.sqrt(3 / fanIn))
      const values = new Float32Array(count)
      for (let at = 0; at < count; at += block.length) values.set(block.subarray(0, count - at), at)
      return [name, floatTensor(name, dims, values)]
    }),
  )
  return { ...model, graph: { ...model.graph, initializers } }
}

/** As a CPU computes it whose kernels work on blocks of `block` channels, and are slower where a block is not full. */
export function blockPredictor(block = 16): LatencyPredictor & { readonly models: () => number } {
  let models = 0
  return {
    models: () => models,
    predictMs(candidates) {
      models += candidates.length
      return Promise.resolve(candidates.map((model) => blockMs(model, block)))
    },
  }
}

function blockMs(model: Model, block: number): number {
  const index = indexGraph(inferShapes(model).graph)
  const padded = (channels: number): number => Math.ceil(channels / block) * block * (channels % block === 0 ? 1 : 1.25)
  let products = 0
  for (const { opType, inputs, outputs } of model.graph.nodes) {
    const [made = 1, read = 1, ...kernel] = index.initializer(inputs[1] ?? '')?.dims ?? []
    if (opType !== 'Conv') continue
    const [batch, , ...places] = index.shapeOf(outputs[0] ?? '') ?? []
    if (batch !== 1) throw new RangeError(`"${outputs[0]}" has no fixed shape`)
    products += padded(made) * padded(read) * elementCount(kernel) * elementCount(places.map(Number))
  }
  return products / 1e6
}
