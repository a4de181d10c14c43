import { EdgefitError } from '@edgefit/shared'
import {
  bitsPerElement,
  checkModel,
  editGraph,
  elementCount,
  indexGraph,
  inferShapes,
  int64Tensor,
  type Model,
  type Tensor,
  type ValueInfo,
} from '@edgefit/shared/onnx'
import type { Labels } from './channel-labels.ts'
import type { DependencyGroups } from './dependency-groups.ts'

/**
 * The model without the channels of `removed` (ids of the channels of its groups): constants cut on every axis that holds them,
 * `group`, Reshape targets and Split sizes written anew, shapes inferred again and checked against what was cut.
 *
 * @throws EdgefitError PASS_FAILED when the shapes of the result are not those that the cuts give: nothing is written.
 */
export function removeChannels(from: DependencyGroups, removed: ReadonlySet<number>, how: Cut = cut): Model {
  if (removed.size === 0) return from.model
  const { labels, activations, constants, repairs } = from.propagation
  const stays = (label: number): boolean => !removed.has(labels.classOf(label))
  const survivors = (axis: Labels): number => axis.reduce((count, label) => count + (stays(label) ? 1 : 0), 0)

  const editor = editGraph(from.model.graph)
  for (const { value, axis, labels: own } of constants) {
    const tensor = editor.initializer(value)
    if (tensor === undefined) continue
    const kept = [...own.keys()].filter((at) => stays(own[at] ?? 0))
    if (kept.length < own.length) editor.setInitializer(how(tensor, axis, kept))
  }
  for (const [node, repair] of repairs) {
    const constant = (values: readonly number[]): string => {
      const name = editor.freshName(`${node.outputs[0]}/pruned`)
      editor.setInitializer(int64Tensor(name, [values.length], values))
      return name
    }
    editor.replace(node, repair(survivors, constant))
  }
  editor.prune()

  const graph = editor.build()
  const lengths = new Map(activations.map(({ value, axis, labels: own }) => [`${axis} ${value}`, survivors(own)]))
  const valueInfo = new Map(
    [...graph.valueInfo].map(([name, info]): [string, ValueInfo] => [
      name,
      shrunk(info, (axis) => lengths.get(`${axis} ${name}`)),
    ]),
  )
  const pruned = inferShapes({ ...from.model, graph: { ...graph, valueInfo } })
  checkModel(pruned)
  checkShapes(pruned, valueInfo)
  return pruned
}

function shrunk(info: ValueInfo, lengthOf: (axis: number) => number | undefined): ValueInfo {
  if (info.type?.kind !== 'tensor' || info.type.shape === undefined) return info
  return { ...info, type: { ...info.type, shape: info.type.shape.map((dim, axis) => lengthOf(axis) ?? dim) } }
}

/** What is inferred must be what was expected, on the axes that were cut and on all others. */
function checkShapes(pruned: Model, expected: ReadonlyMap<string, ValueInfo>): void {
  const index = indexGraph(pruned.graph)
  for (const [value, { type }] of expected) {
    const lengths = type?.kind === 'tensor' ? (type.shape ?? []) : []
    for (const [axis, length] of lengths.entries()) {
      const inferred = index.shapeOf(value)?.[axis]
      if (typeof length !== 'number' || inferred === length) continue
      throw new EdgefitError(
        `after pruning, axis ${axis} of "${value}" would be ${inferred ?? 'unknown'} long instead of ${length}; leave its layer out of pruning`,
        { code: 'PASS_FAILED', details: { value, axis } },
      )
    }
  }
}

/** `tensor` with only the positions `kept` of `axis`. */
type Cut = (tensor: Tensor, axis: number, kept: readonly number[]) => Tensor

/** As large as what is cut, of any of the values, without a copy: for models that only their shapes are asked of. */
export const cutShape: Cut = (tensor, axis, kept) => {
  const dims = tensor.dims.map((dim, at) => (at === axis ? kept.length : dim))
  const sizeBytes = (elementCount(dims) * bitsPerElement(tensor.dataType)) / 8
  return { ...tensor, dims, data: tensor.data.subarray(0, sizeBytes) }
}

function cut(tensor: Tensor, axis: number, kept: readonly number[]): Tensor {
  const outer = elementCount(tensor.dims.slice(0, axis))
  const length = tensor.dims[axis] ?? 1
  const blockBytes = (elementCount(tensor.dims.slice(axis + 1)) * bitsPerElement(tensor.dataType)) / 8
  const data = new Uint8Array(outer * kept.length * blockBytes)
  const runs = runsOf(kept)
  let to = 0
  for (let row = 0; row < outer; row++) {
    for (const [first, end] of runs) {
      const bytes = tensor.data.subarray((row * length + first) * blockBytes, (row * length + end) * blockBytes)
      data.set(bytes, to)
      to += bytes.length
    }
  }
  return { ...tensor, dims: tensor.dims.map((dim, at) => (at === axis ? kept.length : dim)), data }
}

/** Neighbours together, as first and one past the last. */
function runsOf(positions: readonly number[]): readonly (readonly [first: number, end: number])[] {
  const runs: [number, number][] = []
  for (const position of positions) {
    const last = runs.at(-1)
    if (last?.[1] === position) last[1]++
    else runs.push([position, position + 1])
  }
  return runs
}
