import { Pass } from '@edgefit/shared/model'
import { asFloat32, encodeModel, floatTensor, indexGraph, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../../agent/compress/index.ts'
import { dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { type PruneChannelsPass, pruneChannels } from '../../../../agent/compress/prune/prune-channels.ts'
import { pruneWeights } from '../../../../agent/compress/prune/prune-weights.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { demoModel } from '../support/real-models.ts'
import { openSession } from '../support/runtime.ts'
import { pruning, type RatioPruning } from './support.ts'

function twoLayers(): Model {
  return modelOf({
    inputs: { x: [1, 3, 4, 4] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a'),
      op('Conv', 'a w2 -> b'),
      op('Conv', 'b dw -> c', { group: intValue(20) }),
      op('Conv', 'c w3 -> y'),
    ],
    constants: [
      randomTensor('w1', [10, 3, 1, 1], 1, 0.1),
      randomTensor('w2', [20, 10, 1, 1], 2, 3),
      randomTensor('dw', [20, 1, 1, 1], 3, 3),
      randomTensor('w3', [2, 20, 1, 1], 4),
    ],
  })
}

function widths(model: Model): readonly (number | undefined)[] {
  return ['w1', 'w2'].map((name) => model.graph.initializers.get(name)?.dims[0])
}

function prune(settings: RatioPruning, model = twoLayers()) {
  return pruneChannels(model, pruning(settings))
}

describe('choosing channels', () => {
  it.each([
    [{ ratio: 0.3 }, [7, 14]],
    [{ ratio: 0.99 }, [1, 1]],
    [{ ratio: 0.3, alignTo: 4 }, [8, 16]],
    [{ ratio: 0.3, alignTo: 16 }, [10, 16]],
    [{ ratio: { a: 0.5 } }, [5, 20]],
    [{ ratio: 0.5, exclude: ['Conv:a'] }, [10, 10]],
    [{ ratio: 0.5, exclude: ['Conv:c'] }, [5, 20]],
    [{ ratio: 0 }, [10, 20]],
  ] satisfies [RatioPruning, number[]][])('%o leaves %o', (settings, expected) => {
    expect(widths(prune(settings).result.model)).toEqual(expected)
  })

  it('removes as many of all layers together, and wears none down', () => {
    for (const ratio of [0.2, 0.5, 0.8]) {
      const [left = 0, right = 0] = widths(prune({ ratio, scope: 'global', importance: 'lamp' }).result.model)
      expect(left + right).toBe(30 - Math.floor(30 * ratio))
    }
    expect(widths(prune({ ratio: 0.99, scope: 'global' }).result.model)).toEqual([1, 2])
  })

  it('removes the least important', () => {
    const model = twoLayers()
    const { resolved, result } = prune({ ratio: 0.1, importance: 'l1' }, model)
    const [kept] = Object.entries(resolved.keep ?? {}).filter(([value]) => value === 'a')
    expect(kept?.[1]).toHaveLength(9)
    const before = asFloat32(model.graph.initializers.get('w1')!)
    const rows = (kept?.[1] ?? []).flatMap((row) => [...before.subarray(row * 3, row * 3 + 3)])
    expect([...asFloat32(result.model.graph.initializers.get('w1')!)]).toEqual(rows)
  })

  it('says what was removed and what stays', () => {
    expect(prune({ ratio: 0.5 }).result.notes).toEqual([
      'removed 15 of 30 channels, in 2 of 2 groups',
      'channels of "y" stay, they are an output of the model',
    ])
  })
})

describe('a threshold', () => {
  /** Filters of these norms in the first layer; those of the second are all alike. */
  function ofNorms(norms: readonly number[]): Model {
    const model = twoLayers()
    const values = Float32Array.from(norms.flatMap((norm) => [norm, 0, 0]))
    const initializers = new Map(model.graph.initializers)
      .set('w1', floatTensor('w1', [10, 3, 1, 1], values))
      .set('w2', floatTensor('w2', [20, 10, 1, 1], new Float32Array(200).fill(1)))
      .set('dw', floatTensor('dw', [20, 1, 1, 1], new Float32Array(20).fill(1)))
    return { ...model, graph: { ...model.graph, initializers } }
  }
  const below = (share: number, norms: readonly number[], alignTo = 1) => {
    const target = { by: 'importance', below: share, alignTo } as const
    return pruneChannels(ofNorms(norms), { pass: 'prune-channels', target, importance: 'filter-l2', exclude: [] })
  }

  it.each([
    [0.1, [10, 1.01, 0.99, 5, 0.5, 0, 10, 10, 10, 10], 1, [0, 1, 3, 6, 7, 8, 9]],
    [0.1, [10, 1.01, 0.99, 5, 0.5, 0, 10, 10, 10, 10], 4, [0, 1, 2, 3, 6, 7, 8, 9]],
    // A tenth stays, however small.
    [0.9, [10, 1, 1, 1, 1, 1, 1, 1, 1, 1], 1, [0]],
  ])('of %d on %j, aligned to %d, leaves %j', (share, norms, alignTo, kept) => {
    const { resolved, result } = below(share, norms, alignTo)
    expect(resolved.keep).toEqual({ a: kept })
    expect(widths(result.model)).toEqual([kept.length, 20])
  })

  it('leaves alone where nothing is small, or everything', () => {
    for (const norms of [Array(10).fill(3), Array(10).fill(0)]) {
      expect(below(0.5, norms).resolved.keep).toEqual({})
    }
  })

  it('is measured where it does not say a number to align to', () => {
    expect(() =>
      pruneChannels(twoLayers(), { ...pruning(), target: { by: 'importance', below: 0.1, alignTo: 'measured' } }),
    ).toThrow('target.alignTo "measured" needs latencies of operators on this box')
  })
})

describe('a resolved pass', () => {
  it('gives the same bytes, whatever else it says', () => {
    const source = demoModel('fashion-mobilenetv2')
    const { resolved, result } = prune({ ratio: 0.4, scope: 'global' }, source)
    const other = Pass.parse({
      ...JSON.parse(JSON.stringify(resolved)),
      target: { by: 'saved-share', savedShare: 0.1 },
      importance: 'lamp',
    })
    const again = pruneChannels(source, other as PruneChannelsPass)
    expect(Buffer.compare(encodeModel(again.result.model), encodeModel(result.model))).toBe(0)
    expect(again.resolved.keep).toEqual(resolved.keep)
  })

  it('leaves the shapes of every value as its constants say', () => {
    const { result } = prune({ ratio: 0.5 }, demoModel('fashion-resnet14'))
    const index = indexGraph(result.model.graph)
    for (const node of result.model.graph.nodes) {
      if (node.opType !== 'Conv') continue
      expect(index.shapeOf(node.outputs[0] ?? '')?.[1]).toBe(index.constant(node.inputs[1] ?? '')?.dims[0])
    }
  })

  it('is one of a recipe, before quantization', async () => {
    const { resolved, bytes } = await buildVariant({
      source: demoModel('fashion-mobilenetv2'),
      recipe: {
        schemaVersion: 1,
        passes: [
          { pass: 'fold-batch-norm' },
          pruning({ ratio: 0.25, alignTo: 8 }),
          { pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.3, scope: 'global' }, exclude: [] },
          { pass: 'quantize-dynamic', weights: { type: 'int8', perChannel: true, reducedRange: false }, exclude: [] },
        ],
        runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
      },
      calibration: { count: 1, batch: () => ({}) },
      openSession,
      threads: 1,
      signal: new AbortController().signal,
    })
    expect(resolved.passes[1]).toHaveProperty('keep')
    const session = await openSession(bytes, { graphOptimization: 'all', threads: 1 })
    const input = { type: 'float32' as const, dims: [1, 1, 28, 28], data: new Float32Array(784).fill(0.5) }
    expect((await session.run({ input }))['logits']?.dims).toEqual([1, 10])
    await session.release()
  })
})

describe('refusals', () => {
  const all = (count: number) => Array.from({ length: count }, (_, at) => at)

  it.each([
    [{ ratio: { nothing: 0.5 } }, 'ratio names "nothing", whose channels cannot be removed; choose among "a", "b"'],
    [{ exclude: ['nothing'] }, 'exclude names "nothing"'],
    [{ keep: { nothing: [0] } }, 'keep["nothing"]: no channels go by this name'],
    [{ keep: { y: [0] } }, 'keep["y"]: its channels must stay (they are an output of the model)'],
    [{ keep: { a: [...all(9), 30] } }, 'keep["a"]: it has 10 channels, there is no 30'],
    [{ keep: { a: [10] } }, 'keep["a"]: a layer would lose all of its channels'],
  ] satisfies [RatioPruning, string][])('%o', (settings, message) => {
    expect(() => prune(settings)).toThrow(message)
    expect(() => prune(settings)).toThrow(expect.objectContaining({ code: 'RECIPE_INVALID' }))
  })

  it('of channels that go together, kept in part', () => {
    const model = modelOf({
      inputs: { x: [1, 3, 1, 1] },
      outputs: ['y'],
      nodes: [op('Conv', 'x w1 -> a'), op('Conv', 'a w2 -> y', { group: intValue(2) })],
      constants: [randomTensor('w1', [4, 3, 1, 1], 1), randomTensor('w2', [2, 2, 1, 1], 2)],
    })
    expect(dependencyGroups(model).groups).toHaveLength(1)
    expect(() => prune({ keep: { a: [0, 1, 2] } }, model)).toThrow('channels 1, 3 stay or go together')
  })

  it('of weights that are no numbers', () => {
    const model = modelOf({
      inputs: { x: [1, 1, 1, 1] },
      outputs: ['y'],
      nodes: [op('Conv', 'x w1 -> a'), op('Conv', 'a w2 -> y')],
      constants: [floatTensor('w1', [2, 1, 1, 1], Float32Array.of(1, Number.NaN)), randomTensor('w2', [2, 2, 1, 1], 2)],
    })
    const refusal = expect.objectContaining({ code: 'MODEL_INVALID' })
    expect(() => prune({}, model)).toThrow(refusal)
    const target = { by: 'magnitude', threshold: 1 } as const
    expect(() => pruneWeights(model, { pass: 'prune-weights', target, exclude: [] })).toThrow(refusal)
  })

  it('of weights that cannot be judged', () => {
    const half = (name: string, dims: readonly number[]) => ({
      name,
      dataType: 'FLOAT16' as const,
      dims,
      data: new Uint8Array(16).fill(60),
    })
    const model = modelOf({
      inputs: { x: [1, 2, 1, 1] },
      outputs: ['y'],
      nodes: [op('Conv', 'x w1 -> a'), op('Conv', 'a w2 -> y')],
      constants: [half('w1', [4, 2, 1, 1]), half('w2', [2, 4, 1, 1])],
    })
    expect(() => prune({}, model)).toThrow('a constant they take part in is FLOAT16; prune float32 models')
  })

  it('of a model in which nothing can go', () => {
    const model = modelOf({
      inputs: { x: [1, 3, 1, 1] },
      outputs: ['y'],
      nodes: [op('Conv', 'x w -> y')],
      constants: [randomTensor('w', [4, 3, 1, 1], 1)],
    })
    expect(() => prune({}, model)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
  })
})
