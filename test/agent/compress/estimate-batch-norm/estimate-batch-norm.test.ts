import { Recipe } from '@edgefit/shared/model'
import { asFloat32, encodeModel, floatTensor, indexGraph, intsValue, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type CalibrationSource, type OpenSession } from '../../../../agent/compress/index.ts'
import { pruning } from '../prune/support.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { batchOf, calibrationOn, demoModel, fashionMnist } from '../support/real-models.ts'
import { float32, openSession, run } from '../support/runtime.ts'

const SAMPLES = 6
const sampleOf = (seed: number, height = 5) => ({
  x: float32(
    [1, 3, height, 5],
    randomValues(15 * height, seed, 2).map((value) => value + 1),
  ),
})
const calibration: CalibrationSource = { count: SAMPLES, batch: ([at = 0]) => sampleOf(at + 1) }

const channels = (names: readonly string[], seed: number) => names.map((name, at) => randomTensor(name, [4], seed + at))
const spread = (name: string) => floatTensor(name, [4], Float32Array.of(1, 2, 0.5, 3))

/** Two branches with a BatchNormalization each, and one behind both. */
function network(): Model {
  return modelOf({
    inputs: { x: ['n', 3, 'h', 5] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a'),
      op('BatchNormalization', 'a g1 b1 m1 v -> p'),
      op('Relu', 'p -> r'),
      op('Conv', 'x w2 -> b'),
      op('BatchNormalization', 'b g2 b2 m2 v -> q'),
      op('Add', 'r q -> s'),
      op('Conv', 's w3 -> c'),
      op('BatchNormalization', 'c g3 b3 m3 v -> y'),
    ],
    constants: [
      randomTensor('w1', [4, 3, 1, 1], 1),
      randomTensor('w2', [4, 3, 1, 1], 2),
      randomTensor('w3', [4, 4, 1, 1], 3),
      ...channels(['g1', 'b1', 'm1'], 10),
      ...channels(['g2', 'b2', 'm2'], 20),
      ...channels(['g3', 'b3', 'm3'], 30),
      spread('v'),
    ],
  })
}

function build(source: Model, passes: readonly object[], samples = calibration, open: OpenSession = openSession) {
  return buildVariant({
    source,
    recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
    calibration: samples,
    openSession: open,
    threads: 1,
    signal: new AbortController().signal,
  })
}

const ESTIMATE = { pass: 'estimate-batch-norm', samples: SAMPLES }

/** Per channel over all samples, in float64. */
async function momentsOf(model: Model, value: string, source: CalibrationSource) {
  const seen: number[][] = [[], [], [], []]
  const observed = { ...model, graph: { ...model.graph, outputs: [{ name: value }] } }
  for (let at = 0; at < source.count; at++) {
    const output = (await run(observed, await source.batch([at]), 'disabled'))[value]
    const places = (output?.data.length ?? 0) / 4
    for (const [index, number] of [...(output?.data ?? [])].entries())
      seen[Math.floor(index / places)]?.push(Number(number))
  }
  return seen.map((values) => {
    const mean = values.reduce((sum, number) => sum + number, 0) / values.length
    return { mean, variance: values.reduce((sum, number) => sum + (number - mean) ** 2, 0) / values.length }
  })
}

describe('estimating BatchNormalization', () => {
  it.each([
    ['of one size', calibration],
    ['of several sizes', { count: SAMPLES, batch: ([at = 0]) => sampleOf(at + 1, at + 2) } satisfies CalibrationSource],
  ])('gives each the mean and variance of what it normalizes then, over samples %s', async (_, source) => {
    const { model } = await build(network(), [ESTIMATE], source)
    const index = indexGraph(model.graph)
    for (const output of ['p', 'q', 'y']) {
      const [input = '', , , mean = '', variance = ''] = index.producer(output)?.inputs ?? []
      const moments = await momentsOf(model, input, source)
      const given = [mean, variance].map((name) => {
        const tensor = index.initializer(name)
        return tensor === undefined ? new Float32Array() : asFloat32(tensor)
      })
      for (const [channel, { mean: expectedMean, variance: expectedVariance }] of moments.entries()) {
        expect(given[0]?.[channel]).toBeCloseTo(expectedMean, 5)
        expect(given[1]?.[channel]).toBeCloseTo(expectedVariance, 5)
      }
    }
    // The model's own were others, and shared one variance.
    expect(model.graph.initializers.has('v')).toBe(false)
  })

  it('looks once at those that lie side by side', async () => {
    let opened = 0
    const counting: OpenSession = (...given) => {
      opened += 1
      return openSession(...given)
    }
    await build(network(), [ESTIMATE], calibration, counting)
    expect(opened).toBe(2)
  })

  it('gives the same bytes from the resolved recipe, without samples, and refuses statistics of another model', async () => {
    const { model, resolved, reports } = await build(network(), [ESTIMATE])
    expect(reports[0]?.notes).toEqual([`statistics of 3 BatchNormalization nodes estimated from ${SAMPLES} samples`])
    const none: CalibrationSource = { count: 0, batch: () => ({}) }
    const read = Recipe.parse(JSON.parse(JSON.stringify(resolved)))
    expect(encodeModel((await build(network(), read.passes, none)).model)).toEqual(encodeModel(model))
    const statistics = { elsewhere: { mean: [0], variance: [1] } }
    await expect(build(network(), [{ ...ESTIMATE, statistics }])).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
    const short = { p: { mean: [0], variance: [1] } }
    await expect(build(network(), [{ ...ESTIMATE, statistics: short }])).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
    })
  })

  it('leaves channels that do not vary, and nodes that it must not touch, as they are', async () => {
    const dead = network()
    const w1 = Float32Array.from(randomValues(12, 1))
    w1.fill(0, 0, 3)
    const initializers = new Map(dead.graph.initializers).set('w1', floatTensor('w1', [4, 3, 1, 1], w1))
    const { resolved, reports } = await build({ ...dead, graph: { ...dead.graph, initializers } }, [ESTIMATE])
    const [pass] = resolved.passes
    const kept = pass?.pass === 'estimate-batch-norm' ? pass.statistics?.['p'] : undefined
    expect(kept?.variance[0]).toBe(1)
    expect(kept?.mean[0]).toBe(asFloat32(randomTensor('m1', [4], 12))[0])
    expect(reports[0]?.notes.join()).toContain('1 channels do not vary')

    const training = network()
    const nodes = training.graph.nodes.map((node) =>
      node.outputs[0] === 'q'
        ? { ...node, outputs: ['q', 'mean', 'variance'], attributes: new Map([['training_mode', intValue(1)]]) }
        : node,
    )
    const left = await build({ ...training, graph: { ...training.graph, nodes } }, [ESTIMATE])
    expect(left.reports[0]?.notes.join()).toContain('"BatchNormalization:q": it is in training mode')
    expect(left.model.graph.nodes.find(({ outputs }) => outputs[0] === 'q')?.inputs).toContain('m2')
  })

  it('has nothing to do where none is left, needs no samples for it, and comes before folding', async () => {
    const plain = modelOf({
      inputs: { x: ['n', 3, 5, 5] },
      outputs: ['y'],
      nodes: [op('Conv', 'x w -> y', { pads: intsValue([0, 0, 0, 0]) })],
      constants: [randomTensor('w', [4, 3, 1, 1], 1)],
    })
    const none: CalibrationSource = { count: 0, batch: () => ({}) }
    const { model, reports, resolved } = await build(plain, [ESTIMATE], none)
    expect(model).toBe(plain)
    expect(reports[0]?.notes.join()).toContain('nothing to estimate')
    expect((await build(plain, resolved.passes, none)).model).toBe(plain)
    expect(() =>
      Recipe.parse({ passes: [{ pass: 'fold-batch-norm' }, ESTIMATE], runtime: { intraOpThreads: 1 } }),
    ).toThrow('put estimate-batch-norm before that one')
  })

  it('wins back most of what pruning costs a real net, without training', { timeout: 120_000 }, async () => {
    const samples = fashionMnist()
    const source = demoModel('fashion-mobilenetv2')
    const prune = pruning({ ratio: 0.2 })
    const estimate = { pass: 'estimate-batch-norm', samples: 32 }
    const accuracyOf = async (model: Model): Promise<number> => {
      const scores = (await run(model, batchOf(samples, 1000, 2000)))['logits']?.data ?? []
      const right = [...samples.labels.subarray(1000, 2000)].filter((label, at) => {
        const row = Array.from({ length: 10 }, (_, score) => Number(scores[10 * at + score]))
        return row.indexOf(Math.max(...row)) === label
      })
      return right.length / 1000
    }
    const pruned = await build(source, [prune])
    const mended = await build(source, [prune, estimate], calibrationOn(samples, 32))
    const [whole, before, after] = [
      await accuracyOf(source),
      await accuracyOf(pruned.model),
      await accuracyOf(mended.model),
    ]
    expect(before).toBeLessThan(whole - 0.2)
    expect(after).toBeGreaterThan((whole + before) / 2)
  })
})
