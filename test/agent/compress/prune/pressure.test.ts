import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Recipe } from '@edgefit/shared/model'
import { asFloat32, type Model } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildVariant } from '../../../../agent/compress/index.ts'
import { openSession } from '../support/runtime.ts'
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
  const { training, tuning } = await breastCancer()
  const judge = judgeOn(tuning)
  const models: Model[] = []
  const built = await buildVariant({
    source: await untrainedModel(),
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

  it('keeps the masks of a sparsity that rose, through training that follows', async () => {
    const { models, score } = await chain({ ...TRAINED, sparsity: { final: 0.7, risesOver: 0.5 } }, RECOVERED)
    const [sparse, recovered] = models
    expect(shareOf(sparse)).toBeGreaterThan(0.65)
    expect(zerosOf(recovered)).toEqual(zerosOf(sparse))
    expect(score).toBeGreaterThan(0.9)
  })
})
