import { describe, expect, it } from 'vitest'
import {
  bindDimensions,
  encodeModel,
  type Graph,
  graphValue,
  inferShapes,
  int64Tensor,
  intValue,
  loadModel,
  type Model,
  type Node,
  node,
  subgraphs,
  symbolicDimensions,
  type TensorType,
} from '../../../shared/onnx/index.ts'
import { RUNTIME_TYPE, randomFeeds, realModelPath, realModels, runModel } from './real-models.ts'
import { branchOf, relu, smallModel, weight } from './small-model.ts'

/** Every value that a node of the main graph makes. */
function madeValues(graph: Graph): readonly string[] {
  return graph.nodes.flatMap((node) => node.outputs).filter((name) => name !== '')
}

async function actualTypes(model: Model, batch: number) {
  const outputs = madeValues(model.graph).map((name) => ({ name }))
  const probe = { ...model, graph: { ...model.graph, outputs, valueInfo: new Map() } }
  const results = await runModel(encodeModel(probe), randomFeeds(model, 1, batch))
  return new Map(Object.entries(results).map(([name, { type, dims }]) => [name, { type, dims }]))
}

function inferredTypes(model: Model): ReadonlyMap<string, TensorType> {
  const { graph } = inferShapes(model)
  const infos = [...graph.valueInfo.values(), ...graph.outputs]
  return new Map(infos.flatMap(({ name, type }) => (type?.kind === 'tensor' ? [[name, type] as const] : [])))
}

/** Throws unless every inferred fact is what the runtime made; returns the values that are not fully known. */
async function compare(model: Model, batch: number): Promise<readonly string[]> {
  const inferred = inferredTypes(model)
  const actual = await actualTypes(model, batch)
  const lengths = new Map<string, number>()
  const vague: string[] = []
  for (const name of madeValues(model.graph)) {
    const type = inferred.get(name)
    const truth = actual.get(name)
    if (type === undefined || type.shape === undefined || type.shape.includes(undefined)) vague.push(name)
    if (type === undefined || truth === undefined) continue
    expect({ name, type: RUNTIME_TYPE[type.dataType] }).toEqual({ name, type: truth.type })
    if (type.shape === undefined) continue
    const resolved = type.shape.map((dim, axis) => {
      if (typeof dim === 'number') return dim
      const length = truth.dims[axis] ?? -1
      if (dim === undefined) return length
      // A symbol stands for one length throughout.
      if (!lengths.has(dim)) lengths.set(dim, length)
      return lengths.get(dim)
    })
    expect({ name, dims: resolved }).toEqual({ name, dims: truth.dims })
  }
  return vague
}

const dynamic = realModels.filter(({ name }) => !name.includes('silero'))

describe.each(dynamic)('$name', ({ path }) => {
  it('has the shapes that the runtime gives, all known once the batch is bound', async () => {
    const model = await loadModel(path)
    const symbols = [...symbolicDimensions(model)]

    const bound = bindDimensions(model, Object.fromEntries(symbols.map((symbol) => [symbol, 2])))

    expect(await compare(bound, 2)).toEqual([])
  })

  it('keeps the batch symbolic and is right for any', async (context) => {
    const model = await loadModel(path)
    context.skip(symbolicDimensions(model).size === 0, 'the model has a fixed batch')

    expect(await compare(model, 3)).toEqual([])
  })

  it('finds nothing new the second time', async () => {
    const once = inferShapes(await loadModel(path))

    expect(inferShapes(once)).toBe(once)
  })
})

describe('silero', () => {
  const withIf = realModelPath('silero-vad/silero-vad-16k-op15')
  const ifless = realModelPath('silero-vad/silero-vad-op18-ifless')

  it.skipIf(withIf === undefined)('says nothing wrong about values around branches', async () => {
    const model = await loadModel(withIf ?? '')

    await compare(model, 1)
    const vague = await compare(bindDimensions(model, { batch: 1, sequence: 576 }), 1)

    // Which LSTM runs depends on the sample rate, an input; all else follows from the bound lengths.
    const decoder = vague.filter((name) => name.startsWith('/model/decoder/'))
    expect(vague.filter((name) => !decoder.includes(name))).toEqual([
      '/model/Shape_output_0',
      '/model/If_output_0',
      '/model/ReduceMean_output_0',
    ])
  })

  it.skipIf(ifless === undefined).each(['then_branch', 'else_branch'])(
    'knows every value of the %s',
    async (branch) => {
      const model = bindDimensions(await loadModel(ifless ?? ''), { batch: 1, sequence: 576 })

      expect(await compare(inlined(model, branch), 1)).toEqual([])
    },
  )

  it.skipIf(ifless === undefined)('writes what it finds inside a branch into the branch', async () => {
    const model = bindDimensions(await loadModel(ifless ?? ''), { batch: 1, sequence: 576 })
    const choice = inferShapes(model).graph.nodes.find((node) => node.opType === 'If') as Node

    for (const [, branch] of subgraphs(choice)) {
      const silent = madeValues(branch).filter((name) => !branch.valueInfo.has(name))
      expect(silent.sort()).toEqual(branch.outputs.map((output) => output.name).sort())
    }
  })
})

describe('control flow', () => {
  const body: Graph = {
    name: 'body',
    nodes: [
      node({ opType: 'Identity', inputs: ['more'], outputs: ['again'] }),
      node({ opType: 'Concat', inputs: ['state', 'x'], outputs: ['grown'], attributes: { axis: intValue(0) } }),
    ],
    initializers: new Map(),
    inputs: [
      { name: 'step', type: { kind: 'tensor', dataType: 'INT64', shape: [] } },
      { name: 'more', type: { kind: 'tensor', dataType: 'BOOL', shape: [] } },
      { name: 'state', type: { kind: 'tensor', dataType: 'FLOAT' } },
    ],
    outputs: [{ name: 'again', type: { kind: 'tensor', dataType: 'BOOL' } }, { name: 'grown' }],
    valueInfo: new Map(),
  }
  const loop = node({
    opType: 'Loop',
    inputs: ['count', '', 'x'],
    outputs: ['y'],
    attributes: { body: graphValue(body) },
  })

  it('claims nothing about what a loop makes', async () => {
    const small = smallModel([loop, relu('y', 'z')], ['z'], [int64Tensor('count', [], [3])])
    const outputs = [{ name: 'z', type: { kind: 'tensor', dataType: 'FLOAT' } as const }]
    const model = bindDimensions({ ...small, graph: { ...small.graph, outputs } }, { batch: 2 })

    expect(await compare(model, 2)).toEqual(['y', 'z'])
    expect((await actualTypes(model, 2)).get('y')?.dims).toEqual([8, 3])
  })

  it('follows the branch that a known condition takes', async () => {
    const choice = node({
      opType: 'If',
      inputs: ['wide'],
      outputs: ['y'],
      attributes: { then_branch: graphValue(branchOf('x', 't')), else_branch: graphValue(branchOf('w', 'e')) },
    })
    const nodes = [
      node({ opType: 'Shape', inputs: ['x'], outputs: ['dims'] }),
      node({ opType: 'Size', inputs: ['x'], outputs: ['size'] }),
      node({ opType: 'Greater', inputs: ['size', 'limit'], outputs: ['wide'] }),
      choice,
    ]
    const weights = [int64Tensor('limit', [], [5]), weight('w', 1)]
    const model = smallModel(nodes, ['y'], weights)

    expect(await compare(bindDimensions(model, { batch: 2 }), 2)).toEqual([])
    expect(await compare(bindDimensions(model, { batch: 1 }), 1)).toEqual([])
  })
})

/** The model as if its one If always took `branch`. */
function inlined(model: Model, branch: string): Model {
  const choice = model.graph.nodes.find((node) => node.opType === 'If') as Node
  const [, inner] = subgraphs(choice).find(([name]) => name === branch) as readonly [string, Graph]
  const rest = model.graph.nodes.filter((node) => node !== choice)
  return {
    ...model,
    graph: {
      ...model.graph,
      nodes: [...rest, ...inner.nodes],
      initializers: new Map([...model.graph.initializers, ...inner.initializers]),
      outputs: inner.outputs,
      valueInfo: new Map(),
    },
  }
}
