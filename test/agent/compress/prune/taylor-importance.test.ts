import { Recipe, type Task } from '@edgefit/shared/model'
import { asFloat32, floatTensor, intsValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type GradientSource, type LatencyPredictor } from '../../../../agent/compress/index.ts'
import { dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { pruneChannels } from '../../../../agent/compress/prune/prune-channels.ts'
import { taylorImportance } from '../../../../agent/compress/prune/taylor-importance.ts'
import { firstOrderTerms } from '../../../../agent/compress/train/weight-gradients.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, openSession, relativeError, run } from '../support/runtime.ts'
import { blockPredictor, pruning } from './support.ts'

const COUNT = 48
const DEAD = 3
const CLASSIFICATION: Task = { kind: 'classification' }
const signal = new AbortController().signal
const pads = intsValue([1, 1, 1, 1])

/** A residual layer behind the first; what the last makes is read with 0 in one place, however large its own weights. */
const NETWORK: Model = modelOf({
  inputs: { x: ['n', 2, 4, 4] },
  outputs: ['y'],
  nodes: [
    op('Conv', 'x w1 b1 -> a', { pads }),
    op('Relu', 'a -> b'),
    op('Conv', 'b w2 -> c', { pads }),
    op('Add', 'b c -> d'),
    op('Conv', 'd w3 -> e', { pads }),
    op('Relu', 'e -> f'),
    op('GlobalAveragePool', 'f -> g'),
    op('Flatten', 'g -> h'),
    op('MatMul', 'h w4 -> y'),
  ],
  constants: [
    randomTensor('w1', [6, 2, 3, 3], 1, 0.5),
    randomTensor('b1', [6], 2, 0.3),
    randomTensor('w2', [6, 6, 3, 3], 3, 0.2),
    largest(randomTensor('w3', [8, 6, 3, 3], 4, 0.3)),
    unread(randomTensor('w4', [8, 3], 5)),
  ],
})

/** The dead channel's filter is the largest of all. */
function largest(tensor: ReturnType<typeof randomTensor>) {
  const length = tensor.dims.slice(1).reduce((product, dim) => product * dim, 1)
  const values = asFloat32(tensor).map((value, at) => (Math.floor(at / length) === DEAD ? 10 * value : value))
  return floatTensor(tensor.name, tensor.dims, values)
}

function unread(tensor: ReturnType<typeof randomTensor>) {
  const values = asFloat32(tensor).map((value, at) => (Math.floor(at / 3) === DEAD ? 0 : value))
  return floatTensor(tensor.name, tensor.dims, values)
}

const picture = (index: number) => randomValues(32, index + 1)
const pictures = (indices: readonly number[]) =>
  float32([indices.length, 2, 4, 4], Float32Array.from(indices.flatMap((index) => [...picture(index)])))

function source(parts: Partial<GradientSource['data']> = {}, task = CLASSIFICATION): GradientSource {
  return {
    split: 'training',
    task,
    data: {
      count: COUNT,
      hasLabels: true,
      feeds: (indices) => Promise.resolve({ x: pictures(indices) }),
      labels: (indices) => Promise.resolve(Float64Array.from(indices, (index) => index % 3)),
      ...parts,
    },
  }
}

const OPTIONS = { samples: COUNT, openSession, threads: 1, onProgress: () => undefined, signal }

async function scoresOf(model: Model, given: GradientSource) {
  const from = dependencyGroups(model)
  const { importance, notes } = await taylorImportance(from.model, from.groups, given, OPTIONS)
  return { from, notes, scores: from.groups.map((group) => importance(from.model, group)) }
}

interface Surroundings {
  readonly predictor?: LatencyPredictor
  /** Null: nothing to take gradients of. */
  readonly gradients?: GradientSource | null
}

/** The pass as a recipe in JSON has it. */
function build(
  pass: object,
  { predictor, gradients = source() }: Surroundings = {},
  model = NETWORK,
): ReturnType<typeof buildVariant> {
  return buildVariant({
    source: model,
    recipe: Recipe.parse({
      passes: [
        { pass: 'prune-channels', importance: 'taylor', target: { by: 'ratio', ratio: 0.1, alignTo: 1 }, ...pass },
      ],
      runtime: { intraOpThreads: 1 },
    }),
    calibration: { count: 8, batch: ([index = 0]) => ({ x: pictures([index]) }) },
    openSession,
    threads: 1,
    signal,
    ...(predictor && { predictor }),
    ...(gradients && { gradients }),
  })
}

const keptOf = ({ resolved }: Awaited<ReturnType<typeof buildVariant>>) => {
  const [pass] = resolved.passes
  return pass?.pass === 'prune-channels' ? pass.keep : undefined
}

describe('importance by gradients', () => {
  it('is the mean over batches of (Σ g w)², summed over the layers that make and read a channel', async () => {
    const { from, scores } = await scoresOf(NETWORK, source())
    const at = from.groups.findIndex(({ value }) => value === 'b' || value === 'a')
    // The channels of the stream: made by w1 and w2, read by w2 and w3.
    const axes = [
      { weight: 'w1', axis: 0 },
      { weight: 'w2', axis: 0 },
      { weight: 'w2', axis: 1 },
      { weight: 'w3', axis: 1 },
    ]
    const expected = Array(6).fill(0)
    let batches = 0
    const loss = { kind: 'cross-entropy', labelSmoothing: 0 } as const
    await firstOrderTerms(from.model, axes, { ...OPTIONS, data: source().data, loss }, (terms) => {
      batches++
      for (const values of terms) for (const [channel, term] of values.entries()) expected[channel] += term ** 2
    })
    expect(batches).toBe(3)
    expect([...(scores[at] ?? [])]).toEqual(expected.map((sum) => expect.closeTo(sum / batches, 10)))
  })

  it('is nothing for a channel that nobody reads, and removing it changes nothing', async () => {
    const { from, scores } = await scoresOf(NETWORK, source())
    const last = scores[from.groups.findIndex(({ channels }) => channels.length === 8)] ?? []
    expect(last[DEAD]).toBe(0)
    expect([...last].filter((score) => score === 0)).toHaveLength(1)
    const target = { by: 'ratio', ratio: { e: 0.13 }, alignTo: 1 }
    const byTaylor = await build({ target })
    expect(keptOf(byTaylor)).toEqual({ e: [0, 1, 2, 4, 5, 6, 7] })
    const feeds = { x: pictures([7, 8]) }
    const [before, after] = [await run(NETWORK, feeds), await run(byTaylor.model, feeds)]
    expect(relativeError(before['y'], after['y'])).toBeLessThan(1e-6)
    // By its weights that channel is the last to go.
    const byWeights = pruneChannels(NETWORK, pruning({ ratio: { e: 0.8 } })).resolved.keep
    expect(byWeights?.['e']).toContain(DEAD)
  })

  it('foretells what removing a channel does to the loss, where it does little', async () => {
    const faint = { ...NETWORK, graph: { ...NETWORK.graph, initializers: new Map(NETWORK.graph.initializers) } }
    const w4 = asFloat32(randomTensor('w4', [8, 3], 5)).map((value) => value * 1e-3)
    faint.graph.initializers.set('w4', floatTensor('w4', [8, 3], w4))
    const data = { ...source().data, count: 16 }
    const loss = { kind: 'cross-entropy', labelSmoothing: 0 } as const
    const seen: number[] = []
    await firstOrderTerms(faint, [{ weight: 'w4', axis: 0 }], { ...OPTIONS, data, loss }, ([terms = []]) => {
      seen.push(...terms)
    })
    const indices = Array.from({ length: 16 }, (_, at) => at)
    const lossOf = async (model: Model) => {
      const scores = Array.from((await run(model, await data.feeds(indices)))['y']?.data ?? [], Number)
      return (
        indices.reduce((sum, at) => {
          const row = scores.slice(3 * at, 3 * at + 3)
          return sum + Math.log(row.reduce((all, score) => all + Math.exp(score), 0)) - (row[at % 3] ?? 0)
        }, 0) / 16
      )
    }
    const whole = await lossOf(faint)
    const changes: number[] = []
    for (const gone of [0, 1, 2, 4, 5, 6, 7]) {
      const keep = { e: [...Array(8).keys()].filter((at) => at !== gone) }
      changes.push((await lossOf(pruneChannels(faint, pruning({ keep })).result.model)) - whole)
    }
    const foretold = [0, 1, 2, 4, 5, 6, 7].map((at) => -(seen[at] ?? 0))
    const scale = Math.max(...foretold.map(Math.abs))
    for (const [at, change] of changes.entries())
      expect(Math.abs(change - (foretold[at] ?? 0))).toBeLessThan(0.05 * scale)
  })

  it('takes labels from the model itself where there are none', async () => {
    const unlabelled = source({ hasLabels: false, labels: () => Promise.reject(new Error('there are none')) })
    const { scores, notes } = await scoresOf(NETWORK, unlabelled)
    expect(notes).toEqual([
      `importance by gradients of ${COUNT} training samples, by labels drawn from the model's own answers`,
    ])
    expect(scores.flatMap((values) => [...(values ?? [])]).filter((score) => score > 0)).toHaveLength(13)
    expect((await scoresOf(NETWORK, unlabelled)).scores).toEqual(scores)
  })

  it('leaves alone what has no gradient, and says so', async () => {
    const { graph } = NETWORK
    const aside: Model = {
      ...NETWORK,
      graph: {
        ...graph,
        nodes: [...graph.nodes, op('Conv', 'd w5 -> s', { pads }), op('Conv', 's w6 -> z')],
        outputs: [...graph.outputs, { name: 'z' }],
        initializers: new Map(graph.initializers)
          .set('w5', randomTensor('w5', [4, 6, 3, 3], 6))
          .set('w6', randomTensor('w6', [2, 4, 1, 1], 7)),
      },
    }
    const target = { by: 'ratio', ratio: 0.5, alignTo: 1 }
    const built = await build({ target }, {}, aside)
    // The stream is read by w5 as well, which the loss does not depend on.
    expect(Object.keys(keptOf(built) ?? {})).toEqual(['e'])
    expect(built.reports[0]?.notes).toContain(
      'channels of "s" stay, "w5" has no gradient: the loss does not depend on it',
    )
  })
})

describe('pruning by gradients', () => {
  it('gives the same bytes from its resolved recipe, without samples', async () => {
    const built = await build({ target: { by: 'ratio', ratio: 0.4, alignTo: 1 } })
    expect(built.reports[0]?.notes[0]).toBe(`importance by gradients of ${COUNT} training samples, by their labels`)
    const again = await buildVariant({
      source: NETWORK,
      recipe: Recipe.parse(JSON.parse(JSON.stringify(built.resolved))),
      calibration: { count: 0, batch: () => ({}) },
      openSession: () => Promise.reject(new Error('nothing is to be run')),
      threads: 1,
      signal,
    })
    expect(Buffer.compare(again.bytes, built.bytes)).toBe(0)
  })

  it('takes as many samples as the pass says', async () => {
    const { reports } = await build({ gradientSamples: 16 })
    expect(reports[0]?.notes[0]).toContain('gradients of 16 training samples')
  })

  it.each([
    { by: 'saved-share', savedShare: 0.2, samples: 4, steps: 2 },
    { by: 'ratio', ratio: 0.5 },
    { by: 'importance', below: 0.3 },
  ])('to $by, as the box computes', async (target) => {
    const { model, reports } = await build({ target }, { predictor: blockPredictor(2) })
    expect(reports[0]?.notes.join()).toContain('importance by gradients')
    expect(model.graph.initializers.get('w3')?.dims[0]).toBeLessThan(8)
  })

  it.each([
    ['without samples', null, 'give a dataset and a task, choose another importance, or take a resolved recipe'],
    [
      'for a metric of its own',
      source({}, { kind: 'custom', module: 'm' }),
      'has no loss for a task of kind "custom"; choose another importance',
    ],
  ])('is refused %s', async (_, gradients, message) => {
    await expect(build({}, { gradients })).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining(message),
    })
  })

  it('is refused for outputs that are no class scores', async () => {
    const nodes = NETWORK.graph.nodes.slice(0, 5)
    const imageToImage: Model = { ...NETWORK, graph: { ...NETWORK.graph, nodes, outputs: [{ name: 'e' }] } }
    await expect(build({}, {}, imageToImage)).rejects.toThrow(
      'needs a row of class scores a sample, and "e" is [n, 8, 4, 4]',
    )
  })

  it('is refused where nothing can go, before gradients are taken', async () => {
    await expect(build({ exclude: ['nobody'] })).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
    const [first] = NETWORK.graph.nodes
    const single: Model = {
      ...NETWORK,
      graph: { ...NETWORK.graph, nodes: first ? [first] : [], outputs: [{ name: 'a' }] },
    }
    await expect(build({}, {}, single)).rejects.toThrow('no channel can be removed: channels of "a" stay')
  })

  it('refuses a number of samples where nothing takes gradients', () => {
    const pass = { pass: 'prune-channels', importance: 'l2', gradientSamples: 8, target: { by: 'ratio', ratio: 0.5 } }
    const { error } = Recipe.safeParse({ passes: [pass], runtime: { intraOpThreads: 1 } })
    expect(error?.issues[0]).toMatchObject({
      path: ['passes', 0, 'gradientSamples'],
      message: 'only importance "taylor" takes gradients; leave "gradientSamples" out for "l2"',
    })
  })
})
