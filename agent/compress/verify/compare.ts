import { indexGraph, type Model, type Node } from '@edgefit/shared/onnx'
import type { Prediction } from './predict.ts'

/** An operator that the runtime does not compute in integers although the model is made for it. */
export interface Miss {
  readonly node: Node
  readonly expected: readonly string[]
  /** Operator type that takes its place, where it can be told. */
  readonly found: string | undefined
  /** In words; empty when every known rule is kept. */
  readonly causes: readonly string[]
}

export interface Comparison {
  /** Kernel → how many predictions it fulfils. */
  readonly kernels: ReadonlyMap<string, number>
  readonly misses: readonly Miss[]
}

/** Holds what was predicted of a model against `executed`: the graph the runtime made of it. */
export function compareKernels(predictions: readonly Prediction[], executed: Model): Comparison {
  const index = indexGraph(executed.graph)
  const kernels = new Map<string, number>()
  const misses: Miss[] = []
  const claimed = new Set<Node>()
  const vanished: Prediction[] = []

  const claim = (kernel: Node): void => {
    claimed.add(kernel)
    kernels.set(kernel.opType, (kernels.get(kernel.opType) ?? 0) + 1)
  }
  const miss = ({ node, kernels: expected, obstacles }: Prediction): void => {
    const found = executed.graph.nodes.find((one) => node.name !== '' && one.name === node.name)
    const maker = index.producer(node.outputs[0] ?? '') ?? found
    misses.push({ node, expected, found: maker?.opType, causes: obstacles })
  }
  for (const prediction of predictions) {
    const makers = prediction.results.flatMap((value) => index.producer(value) ?? [])
    const kernel = makers.find(({ opType }) => prediction.kernels.includes(opType))
    if (kernel !== undefined) claim(kernel)
    else if (prediction.kernels.length === 0 || makers.length > 0) miss(prediction)
    else vanished.push(prediction)
  }
  // Where a pair of conversions was taken out, the value behind it goes by another name.
  for (const prediction of vanished) {
    const kernel = executed.graph.nodes.find((one) => prediction.kernels.includes(one.opType) && !claimed.has(one))
    if (kernel === undefined) miss(prediction)
    else claim(kernel)
  }
  return { kernels, misses }
}
