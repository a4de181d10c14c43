import type { RuntimeSettings } from '@edgefit/shared/model'
import { type DataType, encodeModel, type Model } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import type { ExecutedGraphOf, ValueType } from '../compress/latency/executed-graph.ts'
import type { RuntimeTensorType } from '../compress/runtime-port.ts'
import { madeUpFeeds } from './made-up-feeds.ts'
import { loadExecuted, optimizedGraphIn } from './ort-session.ts'

/**
 * The adapter that latency is predicted with. Files pass through `folder`.
 *
 * The runtime tells no shapes of its own layouts, so the graph is run once with every value for an output.
 */
export function executedGraphIn(folder: string, runtime: RuntimeSettings): ExecutedGraphOf {
  const optimized = optimizedGraphIn(folder, 'all')
  return async (source) => {
    const model = await optimized(encodeModel(source))
    const loaded = await loadExecuted(encodeModel(withAllOutputs(model)), runtime)
    try {
      const feeds = madeUpFeeds(loaded.inputs, seededRandom(1))
      const seen = { ...feeds, ...(await loaded.bind(feeds).run()) }
      const values = Object.entries(seen).map(([name, { type, dims }]): [string, ValueType] => [
        name,
        { dataType: DATA_TYPES[type], dims },
      ])
      return { model, values: new Map(values) }
    } finally {
      await loaded.release()
    }
  }
}

function withAllOutputs(model: Model): Model {
  const { graph } = model
  const written = new Set(graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== '')))
  return { ...model, graph: { ...graph, outputs: [...written].map((name) => ({ name })) } }
}

const DATA_TYPES: Readonly<Record<RuntimeTensorType, DataType>> = {
  float32: 'FLOAT',
  float64: 'DOUBLE',
  float16: 'FLOAT16',
  int8: 'INT8',
  uint8: 'UINT8',
  int16: 'INT16',
  uint16: 'UINT16',
  int32: 'INT32',
  uint32: 'UINT32',
  int64: 'INT64',
  uint64: 'UINT64',
  bool: 'BOOL',
}
