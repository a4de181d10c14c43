import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import type { Model } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TrainingPlan } from '../../../../agent/compress/train/plan.ts'
import { stampedFile } from '../../../../agent/compress/train/stamped-file.ts'
import { type TrainingPorts, train as trainWeights } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import type { TrainingState } from '../../../../agent/compress/train/training-state.ts'
import { afterUpdate } from './support/after-update.ts'
import { breastCancer, dataOf, portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const signal = new AbortController().signal
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-train-'))
})
afterAll(() => rm(folder, { recursive: true }))

const train = (model: Model, plan: TrainingPlan, ports: TrainingPorts, abort: AbortSignal) =>
  trainWeights({ model, trainable: trainableWeights(model, plan.trainable) }, plan, ports, abort)

describe('training', () => {
  it('teaches an untrained net from labelled data, and keeps the weights that did best on the tuning split', async () => {
    const model = await untrainedModel()
    const seen: number[] = []
    const trained = await train(
      model,
      SMALL_PLAN,
      await portsOf({ onProgress: afterUpdate(({ loss }) => seen.push(loss ?? Number.NaN)) }),
      signal,
    )
    expect(trained.initialScore).toBeLessThan(0.85)
    expect(trained.bestScore).toBeGreaterThan(0.94)
    expect(seen).toHaveLength(SMALL_PLAN.updates)
    expect(seen.at(-1)).toBeLessThan((seen[0] ?? 0) / 2)
    expect(trained.history.map(({ update }) => update)).toEqual([0, 10, 20, 30, 40])
    expect(Math.max(...trained.history.map(({ score }) => score))).toBe(trained.bestScore)
    const { judge } = await portsOf()
    expect(await judge(trained.weights, () => undefined)).toBe(trained.bestScore)
  })

  it.each(['adam', 'adamw'] as const)('learns with %s', async (kind) => {
    const optimizer = { kind, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 }
    const plan = { ...SMALL_PLAN, optimizer, learningRate: 0.01 }
    expect((await train(await untrainedModel(), plan, await portsOf(), signal)).bestScore).toBeGreaterThan(0.94)
  })

  it('gives the same weights for the same seed, and others for another', async () => {
    const model = await untrainedModel()
    const once = async (seed: number) =>
      (await train(model, { ...SMALL_PLAN, updates: 12, seed }, await portsOf(), signal)).weights
    const first = await once(1)
    expect(await once(1)).toEqual(first)
    expect(await once(2)).not.toEqual(first)
  })

  it('averages gradients over small batches to what one large batch gives', async () => {
    const model = await untrainedModel()
    const optimizer = { kind: 'sgd', momentum: 0.9, weightDecay: 0.01 } as const
    const plan = { ...SMALL_PLAN, optimizer, updates: 10, patience: 100 }
    const last = async (batch: number, accumulation: number) => {
      const losses: number[] = []
      const ports = await portsOf({ onProgress: afterUpdate(({ loss }) => losses.push(loss ?? Number.NaN)) })
      await train(model, { ...plan, batch, accumulation }, ports, signal)
      return losses
    }
    const [whole, parts] = [await last(64, 1), await last(16, 4)]
    // 284 samples fill 4 batches of 64 and 17 of 16: in the first epoch both see the same samples.
    for (const at of [0, 1, 2, 3]) expect(parts[at]).toBeCloseTo(whole[at] ?? 0, 4)
  })
})

describe('a run that is interrupted', () => {
  const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const
  const sparsity = { final: 0.8, scope: 'global', risesOver: 0.6, everyUpdates: 5 } as const
  const plans: Readonly<Record<string, TrainingPlan>> = {
    momentum: SMALL_PLAN,
    Adam: { ...SMALL_PLAN, optimizer: adam, learningRate: 0.01 },
    'batches that accumulate': { ...SMALL_PLAN, batch: 16, accumulation: 2 },
    'a sparsity that rises': { ...SMALL_PLAN, sparsity },
    'a rate that is halved': { ...SMALL_PLAN, optimizer: adam, learningRate: 3 },
  }

  it.each(Object.entries(plans))('goes on with %s to the same weights, bit for bit', async (name, plan) => {
    const model = await untrainedModel()
    const whole = await train(model, plan, await portsOf(), signal)
    expect(whole.notes.join().includes('halved')).toBe(name.includes('halved'))
    const checkpoints = stampedFile<TrainingState>(join(folder, name), 'key')
    // A clock on which a checkpoint is due after every update.
    let nowMs = 0
    const monotonicNow = () => nowMs
    for (const killedAt of [7, 23]) {
      const abort = new AbortController()
      const onProgress = afterUpdate(({ update }) => {
        nowMs += 30_000
        if (update === killedAt) abort.abort()
      })
      const ports = await portsOf({ checkpoints, monotonicNow, onProgress })
      await expect(train(model, plan, ports, abort.signal)).rejects.toThrow('abort')
      expect((await checkpoints.read())?.update).toBe(killedAt)
    }
    const updates: number[] = []
    const ports = await portsOf({
      checkpoints,
      monotonicNow,
      onProgress: afterUpdate(({ update }) => updates.push(update)),
    })
    const resumed = await train(model, plan, ports, signal)
    expect(updates[0]).toBe(24)
    expect(resumed.weights).toEqual(whole.weights)
    expect(resumed.history).toEqual(whole.history)
    // Asked once more, it has nothing left to do, and loads nothing for it.
    const openSession = () => Promise.reject(new Error('opened'))
    const again = await train(model, plan, await portsOf({ checkpoints, openSession }), signal)
    expect(again.weights).toEqual(whole.weights)
  })

  it('ends by its budget at the same place again, and goes on where it is given more', async () => {
    const model = await untrainedModel()
    const whole = await train(model, SMALL_PLAN, await portsOf(), signal)
    const checkpoints = stampedFile<TrainingState>(join(folder, 'budget'), 'key')
    const within = async (budgetMs: number) => {
      const exhausted = (elapsedMs: number) => (elapsedMs >= budgetMs ? 'the budget is spent' : undefined)
      return await train(model, SMALL_PLAN, await portsOf({ checkpoints, exhausted }), signal)
    }
    const short = await within(12_000)
    expect(short.updates).toBeGreaterThan(0)
    expect(short.updates).toBeLessThan(SMALL_PLAN.updates)
    expect(await within(12_000)).toEqual({ ...short, updateMs: undefined })
    expect((await within(1e9)).weights).toEqual(whole.weights)
  })

  it('is not lost to a full disk, and says that it could not be saved', async () => {
    const full = new EdgefitError('no space left', { code: 'DISK_FULL' })
    const checkpoints = { read: () => Promise.resolve(undefined), write: () => Promise.reject(full) }
    const trained = await train(await untrainedModel(), SMALL_PLAN, await portsOf({ checkpoints }), signal)
    expect(trained.updates).toBe(SMALL_PLAN.updates)
    expect(trained.notes.join()).toContain('no space left')
  })

  it('begins anew where the checkpoint is damaged or of another run', async () => {
    const path = join(folder, 'damaged')
    await stampedFile<string>(path, 'a').write('value')
    expect(await stampedFile<string>(path, 'a').read()).toBe('value')
    expect(await stampedFile<string>(path, 'b').read()).toBeUndefined()
    const bytes = await readFile(path)
    bytes[40] = (bytes[40] ?? 0) ^ 1
    await writeFile(path, bytes)
    expect(await stampedFile<string>(path, 'a').read()).toBeUndefined()
    await writeFile(path, bytes.subarray(0, 10))
    expect(await stampedFile<string>(path, 'a').read()).toBeUndefined()
    // Whole, but of a format that this runtime does not know.
    const body = Buffer.of(0xff, 0xfe, 0x00)
    await writeFile(path, Buffer.concat([createHash('sha256').update(body).digest(), body]))
    expect(await stampedFile<string>(path, 'a').read()).toBeUndefined()
    // What is there and cannot be read is not the same as nothing.
    await expect(stampedFile<string>(folder, 'a').read()).rejects.toThrow(
      expect.objectContaining({ code: 'UNAVAILABLE', message: expect.stringContaining(folder) }),
    )
  })
})

describe('training that cannot go on', () => {
  it('ends with what it has when its budget is spent, and says so', async () => {
    const exhausted = (elapsedMs: number) => (elapsedMs > 5000 ? 'the time budget is spent' : undefined)
    const trained = await train(await untrainedModel(), SMALL_PLAN, await portsOf({ exhausted }), signal)
    expect(trained.updates).toBeLessThan(SMALL_PLAN.updates)
    expect(trained.notes.join()).toContain('the time budget is spent')
  })

  it('ends when the tuning split has not become better for long', async () => {
    const plan = { ...SMALL_PLAN, updates: 100, evaluateEvery: 2, patience: 3 }
    const trained = await train(
      await untrainedModel(),
      plan,
      await portsOf({ judge: () => Promise.resolve(0.5) }),
      signal,
    )
    expect(trained).toMatchObject({ updates: 6, bestUpdate: 0 })
    expect(trained.notes.join()).toContain('without a better score')
  })

  it('halves its rate when the loss explodes, and gives up with the reason when that does not help', async () => {
    const model = await untrainedModel()
    const wild = { ...SMALL_PLAN, learningRate: 1e6, updates: 200 }
    await expect(train(model, wild, await portsOf(), signal)).rejects.toThrow(
      expect.objectContaining({ code: 'PASS_FAILED', message: expect.stringMatching(/learningRate/) }),
    )
    const fast = {
      ...SMALL_PLAN,
      learningRate: 4,
      optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 },
      updates: 120,
    } as const
    const trained = await train(model, fast, await portsOf(), signal)
    expect(trained.notes.join()).toMatch(/halved/)
  })

  it('puts weights back that overflow, before they are looked at', async () => {
    const looks: boolean[] = []
    const judge = (weights: ReadonlyMap<string, Float32Array>) => {
      looks.push([...weights.values()].every((values) => values.every(Number.isFinite)))
      return Promise.resolve(0.5)
    }
    const plan = { ...SMALL_PLAN, learningRate: 1e40, evaluateEvery: 1 }
    await expect(train(await untrainedModel(), plan, await portsOf({ judge }), signal)).rejects.toThrow(
      expect.objectContaining({ code: 'PASS_FAILED', message: expect.stringContaining('not finite') }),
    )
    expect(looks.length).toBeGreaterThan(1)
    expect(looks.every(Boolean)).toBe(true)
  })

  it('writes no more checkpoints than a twentieth of the time allows', async () => {
    let nowMs = 0
    const written: number[] = []
    const checkpoints = {
      read: () => Promise.resolve(undefined),
      write: ({ update }: TrainingState) => {
        written.push(update)
        nowMs += 5000
        return Promise.resolve()
      },
    }
    const onProgress = afterUpdate(() => {
      nowMs += 10_000
    })
    const ports = await portsOf({ checkpoints, monotonicNow: () => nowMs, onProgress })
    await train(await untrainedModel(), { ...SMALL_PLAN, updates: 30 }, ports, signal)
    // Due after 20 s, then after 20 times the 5 s that one takes, and at the end.
    expect(written).toEqual([3, 13, 23, 30])
  })

  it('refuses labels that are no classes, and a dataset without labels', async () => {
    const { tuning } = await breastCancer()
    const model = await untrainedModel()
    const labelled = dataOf({ ...tuning, labels: tuning.labels.map((label) => label + 1) })
    await expect(train(model, SMALL_PLAN, await portsOf({ data: labelled }), signal)).rejects.toThrow(
      expect.objectContaining({ code: 'DATASET_MISMATCH', message: expect.stringContaining('label 2') }),
    )
    const bare = { ...dataOf(tuning), hasLabels: false }
    await expect(train(model, SMALL_PLAN, await portsOf({ data: bare }), signal)).rejects.toThrow(
      expect.objectContaining({ code: 'DATASET_MISMATCH', message: expect.stringContaining('mixing') }),
    )
  })
})
