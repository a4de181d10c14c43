import { gzipSync } from 'node:zlib'
import { EdgefitError } from '@edgefit/shared'
import type { Pass } from '@edgefit/shared/model'
import {
  asFloat32,
  editGraph,
  encodeModel,
  floatTensor,
  type Graph,
  type Model,
  type Tensor,
} from '@edgefit/shared/onnx'
import { nodeLabel, refuseUnknownNodes } from '../node-label.ts'
import type { PassResult } from '../pass-report.ts'
import { simplify } from '../simplify.ts'
import { masked, smallestMasks } from '../smallest-masks.ts'

export type PruneWeightsPass = Extract<Pass, { pass: 'prune-weights' }>

/**
 * Sets the smallest weights of Conv, ConvTranspose, Gemm and MatMul to zero. The file packs better for its way to the
 * device; it loads to the same size and runs no faster, since the runtime's kernels multiply by zeros like by anything.
 *
 * @throws EdgefitError RECIPE_INVALID for a name in `exclude` that no node has; MODEL_INVALID for weights that are not
 * finite.
 */
export function pruneWeights(model: Model, { target, exclude }: PruneWeightsPass): PassResult {
  const prepared = simplify(model)
  refuseUnknownNodes(prepared.graph, exclude)
  const weights = weightsOf(prepared.graph, new Set(exclude))
  const zeroed = zeroedBy(weights.map(asFloat32), target)
  const editor = editGraph(prepared.graph)
  let zeros = 0
  let all = 0
  for (const [at, tensor] of weights.entries()) {
    const values = zeroed[at] ?? new Float32Array(0)
    editor.setInitializer(floatTensor(tensor.name, tensor.dims, values))
    for (const value of values) if (value === 0) zeros++
    all += values.length
  }
  const pruned = { ...prepared, graph: editor.build() }
  const share = all === 0 ? 0 : (100 * zeros) / all
  return {
    model: pruned,
    notes: [
      `${share.toFixed(1)} % of ${all} weights are zero`,
      `packed with gzip: ${packedBytes(model)} bytes before, ${packedBytes(pruned)} after`,
      'no time is saved: the runtime multiplies by zeros like by other numbers',
    ],
  }
}

/** Each constant once, in graph order. */
function weightsOf(graph: Graph, exclude: ReadonlySet<string>): readonly Tensor[] {
  const found = new Map<string, Tensor>()
  const kept = new Set<string>()
  for (const node of graph.nodes) {
    if (node.domain !== '' || !['Conv', 'ConvTranspose', 'Gemm', 'MatMul'].includes(node.opType)) continue
    for (const name of node.inputs.slice(0, 2)) {
      const tensor = graph.initializers.get(name)
      if (exclude.has(nodeLabel(node))) kept.add(name)
      else if (tensor?.dataType === 'FLOAT') found.set(name, tensor)
    }
  }
  const weights = [...found.values()].filter(({ name }) => !kept.has(name))
  for (const tensor of weights) {
    if (asFloat32(tensor).every(Number.isFinite)) continue
    throw new EdgefitError(`weights "${tensor.name}" are not finite numbers; export or train the model again`, {
      code: 'MODEL_INVALID',
      details: { tensor: tensor.name },
    })
  }
  return weights
}

function zeroedBy(tensors: readonly Float32Array[], target: PruneWeightsPass['target']): readonly Float32Array[] {
  if (target.by === 'magnitude') {
    const { threshold } = target
    return tensors.map((values) => values.map((value) => (Math.abs(value) < threshold ? 0 : value)))
  }
  const { sparsity, scope } = target
  if (scope === 'per-layer') return tensors.flatMap((values) => smallestZeroed([values], sparsity))
  return smallestZeroed(tensors, sparsity)
}

function smallestZeroed(tensors: readonly Float32Array[], sparsity: number): readonly Float32Array[] {
  const masks = smallestMasks(tensors, sparsity)
  return tensors.map((values, at) => masked(values, masks[at] ?? values))
}

function packedBytes(model: Model): number {
  return gzipSync(encodeModel(model)).byteLength
}
