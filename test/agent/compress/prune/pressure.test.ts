import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Recipe } from '@edgefit/shared/model'
import { asFloat32, intValue, type Model } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildVariant } from '../../../../agent/compress/index.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { openSession, relativeError, run } from '../support/runtime.ts'
import { breastCancer, judgeOn, untrainedModel } from '../train/support/breast-cancer-training.ts'

const TRAINED = { pass: 'fine-tune', updates: 120, learningRate: 0.05, evaluateEvery: 40 }
const pressed = (kind: string, strength: number) => ({ ...TRAINED, penalties: [{ kind, strength }] })
const REMOVED = { pass: 'prune-weights', target: { by: 'magnitude', threshold: 0.02 } }
const RECOVERED = { ...TRAINED, updates: 40, learningRate: 0.02 }

let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'edgefit-pressure-'))
})
afterAll(() => rm(scratch, { recursive: true }))

/** Runs a chain of passes; gives the model after each, and how good the last is. */
async function chain(...passes: readonly object[]) {
  return await chainOn(await untrainedModel(), passes)
}

async function chainOn(source: Model, passes: readonly object[]) {
  const { training, tuning } = await breastCancer()
  const judge = judgeOn(tuning)
  const models: Model[] = []
  const built = await buildVariant({
    source,
    recipe: Recipe.parse({ passes, runtime: { intraOpThreads: 1 } }),
    calibration: { count: 0, batch: () => ({}) },
    gradients: { data: training, split: 'training', task: { kind: 'classification' } },
    training: { data: training, judge, scratchPath: join(scratch, 'run'), dataKey: 'data', monotonicNow: () => 0 },
    openSession,
    threads: 1,
    onPass: (model) => {
      models.push(model)
    },
    signal: new AbortController().signal,
  })
  return { models, score: await judge(built.model), resolved: built.resolved }
}

const matrices = (model: Model | undefined) =>
  [...(model?.graph.initializers.values() ?? [])].filter(({ dims }) => dims.length === 2)

function zerosOf(model: Model | undefined): readonly number[] {
  return matrices(model).flatMap((tensor) => [...asFloat32(tensor)].flatMap((value, at) => (value === 0 ? [at] : [])))
}

const shareOf = (model: Model | undefined) =>
  zerosOf(model).length / matrices(model).reduce((sum, { dims: [rows = 0, columns = 0] }) => sum + rows * columns, 0)

/** Two layers around one that is skipped. */
function residualNet(): Model {
  const layer = (at: number, rows: number, columns: number) => [
    randomTensor(`w${at}`, [rows, columns], at + 1, Math.sqrt(3 / columns)),
    randomTensor(`b${at}`, [rows], at + 11, 0.1),
  ]
  const transB = { transB: intValue(1) }
  return modelOf({
    inputs: { input: ['n', 30] },
    outputs: ['logits'],
    nodes: [
      op('Gemm', 'input w0 b0 -> a', transB),
      op('Relu', 'a -> b'),
      op('Gemm', 'b w1 b1 -> c', transB),
      op('Relu', 'c -> d'),
      op('Gemm', 'd w2 b2 -> e', transB),
      op('Add', 'b e -> f'),
      op('Relu', 'f -> g'),
      op('Gemm', 'g w3 b3 -> logits', transB),
    ],
    constants: [...layer(0, 12, 30), ...layer(1, 12, 12), ...layer(2, 12, 12), ...layer(3, 2, 12)],
  })
}

/** Rows that are zero in every one of the tensors. */
function emptyRows(model: Model | undefined, ...names: readonly string[]): readonly number[] {
  const tensors = names.flatMap((name) => model?.graph.initializers.get(name) ?? [])
  const isEmpty = (row: number) =>
    tensors.every((tensor) => {
      const [, length = 1] = tensor.dims
      return asFloat32(tensor)
        .subarray(row * length, (row + 1) * length)
        .every((value) => value === 0)
    })
  return [...Array(tensors[0]?.dims[0] ?? 0).keys()].filter(isEmpty)
}

describe('pressure, removal and recovery', { timeout: 60_000 }, () => {
  it('leaves the zeros that removal made, and more of them after l1 than after l2', async () => {
    const l1 = await chain(pressed('l1', 0.02), REMOVED, RECOVERED)
    const l2 = await chain(pressed('l2', 0.2), REMOVED, RECOVERED)
    for (const { models, score } of [l1, l2]) {
      const [, removed, recovered] = models
      expect(zerosOf(recovered)).toEqual(zerosOf(removed))
      expect(score).toBeGreaterThan(0.9)
    }
    expect(shareOf(l1.models[1])).toBeGreaterThan(0.85)
    expect(shareOf(l2.models[1])).toBeLessThan(0.75)
  })

  it('empties channels by group lasso, which a threshold then takes out whole', async () => {
    const target = { by: 'importance', below: 0.1, alignTo: 1 }
    const groups = { pass: 'prune-channels', importance: 'filter-l2', target }
    const { models, score, resolved } = await chain(pressed('group-lasso', 0.02), groups, RECOVERED)
    const [whole, cut, recovered] = models.map((model) => matrices(model).map(({ dims }) => dims[0] ?? 0))
    const channels = (widths: readonly number[] = []) => widths.reduce((sum, width) => sum + width, 0)
    expect(channels(cut)).toBeLessThan(0.8 * channels(whole))
    expect(recovered).toEqual(cut)
    expect(score).toBeGreaterThan(0.9)
    expect(resolved.passes[1]).toMatchObject({ keep: expect.any(Object) })
    // Without the pressure nothing is that small.
    const [, untouched] = (await chain({ ...TRAINED }, groups)).models
    expect(channels(matrices(untouched).map(({ dims }) => dims[0] ?? 0))).toBe(channels(whole))
  })

  it('empties channels of a residual net, which pruning removes without changing what the net says', async () => {
    const target = { by: 'importance', below: 1e-6, alignTo: 1 }
    const removing = { pass: 'prune-channels', importance: 'filter-l2', target }
    const adam = { optimizer: { kind: 'adam' }, learningRate: 0.01 }
    const pressing = { ...TRAINED, ...adam, penalties: [{ kind: 'group-lasso', strength: 0.5, spared: 0.4 }] }
    const { models, score, resolved } = await chainOn(residualNet(), [pressing, removing])
    const [pressed, cut] = models
    const emptied = { joined: emptyRows(pressed, 'w0', 'b0', 'w2', 'b2'), inner: emptyRows(pressed, 'w1', 'b1') }
    expect(emptied.joined.length).toBe(7)
    expect(emptied.inner.length).toBe(7)
    const others = (gone: readonly number[]) => [...Array(12).keys()].filter((at) => !gone.includes(at))
    expect(resolved.passes[1]).toMatchObject({ keep: { a: others(emptied.joined), c: others(emptied.inner) } })
    const { training } = await breastCancer()
    const feeds = await training.feeds([...Array(training.count).keys()])
    const answers = async (model: Model | undefined) => (await run(model ?? residualNet(), feeds))['logits']
    expect(relativeError(await answers(pressed), await answers(cut))).toBeLessThan(1e-6)
    // The features come as they are, not normalized.
    expect(score).toBeGreaterThan(0.8)
  })

  it('keeps the masks of a sparsity that rose, through training that follows', async () => {
    const { models, score } = await chain({ ...TRAINED, sparsity: { final: 0.7, risesOver: 0.5 } }, RECOVERED)
    const [sparse, recovered] = models
    expect(shareOf(sparse)).toBeGreaterThan(0.65)
    expect(zerosOf(recovered)).toEqual(zerosOf(sparse))
    expect(score).toBeGreaterThan(0.9)
  })
})
