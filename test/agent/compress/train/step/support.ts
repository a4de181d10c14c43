import { indexGraph } from '@edgefit/shared/onnx'
import type { FeedTensor } from '../../../../../agent/compress/runtime-port.ts'
import { createStepEmitter, type StepEmitter } from '../../../../../agent/compress/train/step/step-emitter.ts'
import { modelOf } from '../../support/graphs.ts'
import { run } from '../../support/runtime.ts'

/** Runs what `emitting` emits on those of `feeds` that it declares, and gives its outputs. */
export async function runEmitted(
  emitting: (emit: StepEmitter) => void,
  feeds: Readonly<Record<string, FeedTensor>>,
): Promise<Readonly<Record<string, readonly number[]>>> {
  let names = 0
  const { emit, parts } = createStepEmitter(17, (hint) => `${hint}:${names++}`)
  emitting(emit)
  const { nodes, constants, inputInfos, outputInfos } = parts()
  const { graph, ...rest } = modelOf({ inputs: {}, outputs: [], nodes, constants })
  const model = { ...rest, graph: { ...graph, inputs: inputInfos, outputs: outputInfos } }
  const index = indexGraph(model.graph)
  const taken = Object.entries(feeds).filter(([name]) => index.isGraphInput(name))
  const outputs = await run(model, Object.fromEntries(taken))
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data, Number)]))
}

export function floatFeed(dims: readonly number[], values: ArrayLike<number>): FeedTensor {
  return { type: 'float32', dims, data: Float32Array.from(values) }
}

export function intFeed(values: readonly number[]): FeedTensor {
  return { type: 'int64', dims: [values.length], data: BigInt64Array.from(values, BigInt) }
}
