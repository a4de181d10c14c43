import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeModel,
  editGraph,
  encodeModel,
  type Graph,
  graphValue,
  loadModel,
  type Node,
  node,
  subgraphs,
} from '../../../shared/onnx/index.ts'
import { randomFeeds, realModelPath, realModels, runModel } from './real-models.ts'
import { add, branchOf, relu, smallModel, weight } from './small-model.ts'

function summary(graph: Graph): readonly string[] {
  return graph.nodes.map((entry) => `${entry.outputs.join()}=${entry.opType}(${entry.inputs.join()})`)
}

/** c = x > y ? then(a) : else(b), where both branches capture. */
function choice(condition: string, then: string, otherwise: string): Node {
  return node({
    opType: 'If',
    inputs: [condition],
    outputs: ['y'],
    attributes: {
      then_branch: graphValue(branchOf(then, 'then_out')),
      else_branch: graphValue(branchOf(otherwise, 'else_out')),
    },
  })
}

describe('editGraph', () => {
  it.each(realModels)('gives $name back as the same object when nothing changed', async ({ path }) => {
    const { graph } = await loadModel(path)
    const editor = editGraph(graph)
    for (const entry of editor.nodes()) editor.replace(entry, entry)
    for (const tensor of graph.initializers.values()) editor.setInitializer(tensor)

    expect(editor.build()).toBe(graph)
  })

  it('inserts a node behind a value', () => {
    const { graph } = smallModel([relu('x', 'a'), add('a', 'a', 'b'), add('a', 'b', 'y')], ['y'])
    const editor = editGraph(graph)

    const fresh = editor.freshName('a')
    editor.replaceUses('a', fresh)
    editor.add(node({ opType: 'Sigmoid', inputs: ['a'], outputs: [fresh] }))

    expect(summary(editor.build())).toEqual(['a=Relu(x)', 'a_1=Sigmoid(a)', 'b=Add(a_1,a_1)', 'y=Add(a_1,b)'])
  })

  it('rewires only the consumers asked for', () => {
    const { graph } = smallModel([relu('x', 'a'), relu('a', 'b'), add('a', 'b', 'y')], ['y'])
    const editor = editGraph(graph)

    editor.replaceUses('a', 'x', (consumer) => consumer.opType === 'Add')

    expect(summary(editor.build())).toEqual(['a=Relu(x)', 'b=Relu(a)', 'y=Add(x,b)'])
  })

  it('knows a rewired node by its old handle', () => {
    const { graph } = smallModel([relu('x', 'a'), relu('a', 'y')], ['y'])
    const editor = editGraph(graph)
    const last = graph.nodes[1] as Node

    editor.replaceUses('a', 'x')
    editor.replace(last, node({ opType: 'Tanh', inputs: ['x'], outputs: ['y'] }))

    expect(editor.producer('y')?.opType).toBe('Tanh')
    expect(() => editor.remove(last)).toThrow(RangeError)
  })

  it('visits nodes as they are by then, and not the removed ones', () => {
    const { graph } = smallModel([relu('x', 'a'), relu('a', 'b'), relu('b', 'y')], ['y'])
    const editor = editGraph(graph)
    const seen: string[] = []

    for (const entry of editor.nodes()) {
      seen.push(`${entry.outputs.join()}<-${entry.inputs.join()}`)
      const next = editor.producer('b')
      if (next !== undefined) {
        editor.remove(next)
        editor.replaceUses('b', 'a')
      }
    }

    expect(seen).toEqual(['a<-x', 'y<-a'])
  })

  it('sees and rewires what subgraphs capture', () => {
    const { graph } = smallModel([relu('x', 'a'), relu('a', 'b'), choice('c', 'a', 'b')], ['y'])
    const editor = editGraph(graph)

    expect(editor.consumers('a').map((entry) => entry.opType)).toEqual(['Relu', 'If'])
    editor.replaceUses('a', 'x')

    const built = editor.build()
    expect(editor.consumers('a')).toEqual([])
    expect(subgraphs(built.nodes.at(-1) as Node).map(([, inner]) => inner.nodes[0]?.inputs)).toEqual([['x'], ['b']])
  })

  it('prunes what nothing needs and keeps what a subgraph captures', () => {
    const nodes = [relu('x', 'a'), add('a', 'w', 'dead'), relu('dead', 'deader'), relu('x', 'b'), choice('c', 'a', 'v')]
    const { graph } = smallModel(nodes, ['y'], [weight('w', 1), weight('v', 1), weight('unused', 1)])
    const editor = editGraph(graph)

    editor.prune()

    const built = editor.build()
    expect(built.nodes.map((entry) => entry.outputs.join())).toEqual(['a', 'y'])
    expect([...built.initializers.keys()]).toEqual(['v'])
  })

  it('takes the input of a removed default away with it', () => {
    const small = smallModel([add('x', 'w', 'y')], ['y'], [weight('w', 1), weight('unused', 1)])
    const editor = editGraph({ ...small.graph, inputs: [...small.graph.inputs, { name: 'w' }, { name: 'unused' }] })

    editor.prune()

    expect(editor.build().inputs.map((input) => input.name)).toEqual(['x', 'w'])
  })

  it.each([
    ['in the middle', [relu('x', 'a'), identity('a', 'b'), relu('b', 'y')], 'b', ['a=Relu(x)', 'y=Relu(a)']],
    [
      'at the end, keeping the output name',
      [relu('x', 'a'), add('a', 'a', 'b'), identity('a', 'y')],
      'y',
      ['y=Relu(x)', 'b=Add(y,y)'],
    ],
    ['at the beginning', [identity('x', 'a'), relu('a', 'y')], 'a', ['y=Relu(x)']],
  ])('bypasses a node %s', (_, nodes, output, expected) => {
    const editor = editGraph(smallModel(nodes, ['y']).graph)

    expect(editor.bypass(editor.producer(output) as Node)).toBe(true)
    expect(summary(editor.build())).toEqual(expected)
  })

  it('does not bypass between two promised names', () => {
    const { graph } = smallModel([identity('x', 'y')], ['y'])
    const editor = editGraph(graph)

    expect(editor.bypass(graph.nodes[0] as Node)).toBe(false)
    expect(editor.build()).toBe(graph)
  })

  it('hands out no name twice, not even one that only a subgraph has', () => {
    const editor = editGraph(smallModel([relu('x', 'a'), choice('c', 'a', 'a')], ['y'], [weight('w', 1)]).graph)

    const names = ['a', 'a', 'then_out', 'w', 'x', 'new', 'new'].map((hint) => editor.freshName(hint))

    expect(names).toEqual(['a_1', 'a_2', 'then_out_1', 'w_1', 'x_1', 'new', 'new_1'])
  })

  it('drops the types of values that are gone', () => {
    const { graph } = smallModel([relu('x', 'a'), relu('a', 'y')], ['y'])
    const typed = {
      ...graph,
      valueInfo: new Map([['a', { name: 'a', type: { kind: 'tensor', dataType: 'FLOAT' } as const }]]),
    }
    const editor = editGraph(typed)

    editor.replaceUses('a', 'x')
    editor.prune()

    expect(editor.build().valueInfo.size).toBe(0)
  })

  it('refuses a second producer and a circle', () => {
    const editor = editGraph(smallModel([relu('x', 'a'), relu('a', 'y')], ['y']).graph)

    expect(() => editor.add(relu('x', 'a'))).toThrow(/"a" already has a producer/)
    editor.replace(editor.producer('a') as Node, add('x', 'y', 'a'))
    expect(() => editor.build()).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }))
  })

  it('stays linear for thousands of insertions', () => {
    const length = 20_000
    const nodes = Array.from({ length }, (_, position) =>
      relu(position === 0 ? 'x' : `v${position}`, `v${position + 1}`),
    )
    const editor = editGraph(smallModel(nodes, [`v${length}`]).graph)

    for (let position = 1; position < length; position++) {
      const fresh = editor.freshName('q')
      editor.replaceUses(`v${position}`, fresh)
      editor.add(relu(`v${position}`, fresh))
    }

    expect(editor.build().nodes).toHaveLength(2 * length - 1)
  })

  const path = realModelPath('fashion-resnet14')
  it.skipIf(path === undefined)('leaves a real model computing the same after Identity on every value', async () => {
    const model = await loadModel(path ?? '')
    const editor = editGraph(model.graph)
    for (const entry of editor.nodes()) {
      for (const output of entry.outputs) {
        if (editor.isGraphOutput(output)) continue
        const fresh = editor.freshName(`${output}/copy`)
        editor.replaceUses(output, fresh)
        editor.add(identity(output, fresh))
      }
    }
    const edited = { ...model, graph: editor.build() }
    const feeds = randomFeeds(model, 5, 2)

    const [before, after] = [await runModel(encodeModel(model), feeds), await runModel(encodeModel(edited), feeds)]

    expect(edited.graph.nodes.length).toBe(2 * model.graph.nodes.length - 1)
    expect(after['logits']?.data).toEqual(before['logits']?.data)
  })
})

/** Random layered graphs: each node reads earlier values or weights. */
const randomGraph = fc
  .array(fc.record({ left: fc.nat(), right: fc.nat(), weight: fc.option(fc.float({ noNaN: true })) }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((specs) => {
    const nodes = specs.map(({ left, right, weight: value }, position) =>
      add(
        position === 0 ? 'x' : `v${left % position}`,
        value === null ? (position === 0 ? 'x' : `v${right % position}`) : `w${position}`,
        `v${position}`,
      ),
    )
    const weights = specs.flatMap(({ weight: value }, position) =>
      value === null ? [] : [weight(`w${position}`, value)],
    )
    return smallModel(nodes, [`v${specs.length - 1}`], weights)
  })

describe('any graph', () => {
  it('survives a round trip', () => {
    fc.assert(
      fc.property(randomGraph, (model) => {
        expect(decodeModel(encodeModel(model))).toEqual(model)
      }),
      { seed: 3, numRuns: 100 },
    )
  })

  it('comes out of pruning with only what its output needs, and pruning again changes nothing', () => {
    fc.assert(
      fc.property(randomGraph, ({ graph }) => {
        const editor = editGraph(graph)
        editor.prune()
        const pruned = editor.build()

        const read = new Set([
          ...pruned.nodes.flatMap((entry) => entry.inputs),
          ...pruned.outputs.map(({ name }) => name),
        ])
        for (const made of [...pruned.nodes.flatMap((entry) => entry.outputs), ...pruned.initializers.keys()]) {
          expect(read.has(made)).toBe(true)
        }
        const again = editGraph(pruned)
        again.prune()
        expect(again.build()).toBe(pruned)
      }),
      { seed: 4, numRuns: 100 },
    )
  })
})

function identity(input: string, output: string): Node {
  return node({ opType: 'Identity', inputs: [input], outputs: [output] })
}
