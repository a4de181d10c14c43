import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeModel, floatTensor, indexGraph, intsValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { drawnData } from '../../../../agent/compress/train/drawn-data.ts'
import type { Teacher } from '../../../../agent/compress/train/run-step.ts'
import { stampedFile } from '../../../../agent/compress/train/stamped-file.ts'
import { scoresOf } from '../../../../agent/compress/train/step/build-step.ts'
import { hintInput, TEACHER_INPUT } from '../../../../agent/compress/train/step/losses.ts'
import {
  type AskingOptions,
  knowingTeacher,
  presentTeacher,
  type TeacherAnswers,
} from '../../../../agent/compress/train/teacher.ts'
import { train } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { openSession } from '../support/runtime.ts'
import { afterUpdate } from './support/after-update.ts'
import { breastCancer, portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const signal = new AbortController().signal
const KNOWLEDGE = { kind: 'distillation', temperature: 2, mixing: 1, labelSmoothing: 0 } as const

async function optionsFor(model: Model): Promise<AskingOptions> {
  const { training } = await breastCancer()
  return { model, data: training, plan: SMALL_PLAN, openSession, threads: 1, monotonicNow: () => 0, signal }
}

/** As a step asks it. */
async function answersOf(teacher: Teacher, { data, plan }: AskingOptions, turns: readonly number[]) {
  return await teacher(turns, await drawnData(data, plan).feeds(turns))
}

/** A teacher of its own making, over `width` features, for `classes`. */
const stranger = (input: string, dims: readonly (number | string)[], classes: number): Model =>
  modelOf({
    inputs: { [input]: dims },
    outputs: ['y'],
    nodes: [op('MatMul', `${input} w -> y`)],
    constants: [randomTensor('w', [Number(dims[1]), classes], 1)],
  })

function hiddenOf({ graph }: Model): string {
  return graph.nodes.find(({ opType }) => opType === 'Relu')?.outputs[0] ?? ''
}

describe('a teacher', () => {
  it('says of samples what it said when it was asked beforehand', async () => {
    const options = await optionsFor(await untrainedModel(7))
    const [knowing, present] = [await knowingTeacher(options), await presentTeacher(options, [])]
    try {
      const turns = Array.from({ length: SMALL_PLAN.batch }, (_, at) => at * 37)
      const [known, asked] = [
        (await answersOf(knowing, options, turns))[TEACHER_INPUT],
        (await answersOf(present, options, turns))[TEACHER_INPUT],
      ]
      expect(known?.dims).toEqual(asked?.dims)
      for (const [at, value] of [...(known?.data ?? [])].entries())
        expect(Number(value)).toBeCloseTo(Number(asked?.data[at]), 4)
    } finally {
      await present.release()
    }
  })

  it('is followed by training without labels, and its intermediate values by hints', async () => {
    const teacher = await untrainedModel(7)
    const options = await optionsFor(teacher)
    const model = await untrainedModel(8)
    const value = hiddenOf(model)
    const present = await presentTeacher(options, [{ value, from: value, weight: 1 }])
    const losses: number[] = []
    const ports = await portsOf({
      data: { ...options.data, hasLabels: false },
      openTeacher: () => Promise.resolve(present),
      onProgress: afterUpdate(({ loss }) => losses.push(loss ?? Number.NaN)),
    })
    const plan = { ...SMALL_PLAN, loss: KNOWLEDGE, hints: [{ value, weight: 1 }], learningRate: 0.02 }
    try {
      expect(Object.keys(await answersOf(present, options, [0]))).toEqual([TEACHER_INPUT, hintInput(value)])
      await train({ model, trainable: trainableWeights(model, plan.trainable) }, plan, ports, signal)
    } finally {
      await present.release()
    }
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2)
  })

  it('is asked about samples that will be drawn alone, and not again about those of earlier runs', async () => {
    const options = await optionsFor(await untrainedModel(7))
    const fed: number[] = []
    const data: AskingOptions['data'] = {
      ...options.data,
      feeds: (samples) => {
        fed.push(...samples)
        return options.data.feeds(samples)
      },
    }
    const folder = await mkdtemp(join(tmpdir(), 'edgefit-teacher-'))
    try {
      const cache = stampedFile<TeacherAnswers>(join(folder, 'answers'), 'key')
      const asked = async (updates: number) => {
        fed.length = 0
        const counts: number[] = []
        const onProgress = (_: number, total: number) => counts.push(total)
        const plan = { ...SMALL_PLAN, updates }
        const teacher = await knowingTeacher({ ...options, data, plan, cache, onProgress })
        return { teacher, asked: counts[0] ?? 0 }
      }
      const short = await asked(2)
      expect(short.asked).toBe(64)
      const longer = await asked(3)
      expect(longer.asked).toBe(32)
      expect((await asked(2)).asked).toBe(0)
      expect(fed).toHaveLength(0)
      const turns = Array.from({ length: 64 }, (_, at) => at)
      // Bit for bit, whatever else was asked with them.
      const whole = await knowingTeacher({ ...options, plan: { ...SMALL_PLAN, updates: 3 } })
      expect(await answersOf(longer.teacher, options, turns)).toEqual(await answersOf(whole, options, turns))
      const distinct = (await answersOf(longer.teacher, options, turns))[TEACHER_INPUT]?.data ?? []
      expect([...distinct].every((value) => Number.isFinite(Number(value)))).toBe(true)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('keeps what it was asked where time is spent, and says what took it', async () => {
    const options = await optionsFor(await untrainedModel(7))
    let kept: TeacherAnswers | undefined
    const cache = {
      read: () => Promise.resolve(kept),
      write: (answers: TeacherAnswers) => {
        kept = answers
        return Promise.resolve()
      },
    }
    const ask = async (budget: number) => {
      let asked = 0
      const spent = () => (asked >= budget ? 'the time budget of 10 s is spent' : undefined)
      const onProgress = () => (asked += 1)
      return await knowingTeacher({ ...options, plan: { ...SMALL_PLAN, updates: 4 }, cache, spent, onProgress })
    }
    await expect(ask(2)).rejects.toMatchObject({
      code: 'TRIAL_FAILED',
      message: expect.stringMatching(/nothing was trained: .* is spent when .* asked about \d+ of 128 samples/),
    })
    const rest = new Set(
      [...(kept?.scores ?? [])].flatMap((score, at) => (Number.isNaN(score) ? [Math.floor(at / 2)] : [])),
    )
    expect(rest.size).toBeLessThan(options.data.count)
    const turns = Array.from({ length: 32 }, (_, at) => at)
    const whole = await knowingTeacher({ ...options, plan: { ...SMALL_PLAN, updates: 4 } })
    expect(await answersOf(await ask(100), options, turns)).toEqual(await answersOf(whole, options, turns))
  })

  it('is refused for answers that are not finite, or not one for each sample', async () => {
    const model = await untrainedModel(7)
    const broken = (initializers: Model['graph']['initializers']): Model => ({
      ...model,
      graph: { ...model.graph, initializers },
    })
    const wild = broken(
      new Map(
        [...model.graph.initializers].map(([name, { dims }]) => {
          const count = dims.reduce((product, dim) => product * dim, 1)
          return [name, floatTensor(name, dims, new Float32Array(count).fill(Number.NaN))]
        }),
      ),
    )
    const refused = { code: 'DATASET_MISMATCH', message: expect.stringMatching(/says NaN of training sample \d+/) }
    await expect(optionsFor(wild).then(knowingTeacher)).rejects.toMatchObject(refused)
    const options = await optionsFor(wild)
    const present = await presentTeacher(options, [])
    await expect(answersOf(present, options, [0])).rejects.toMatchObject(refused)
    await present.release()
    const alone = modelOf({
      inputs: { input: ['n', 30] },
      outputs: ['y'],
      nodes: [op('ReduceMean', 'input -> y', { axes: intsValue([0]) })],
      opset: 17,
    })
    await expect(optionsFor(alone).then(knowingTeacher)).rejects.toMatchObject({
      code: 'DATASET_MISMATCH',
      message: expect.stringContaining('row by row'),
    })
  })

  it('of a fixed batch is refused where batches go through in parts', async () => {
    const fixed = await optionsFor(stranger('input', [SMALL_PLAN.batch, 30], 2))
    await (await presentTeacher(fixed, [])).release()
    await expect(presentTeacher(fixed, [], 2)).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining('"maxMemoryMib"'),
    })
  })

  it('is not asked where the run could not begin anyway', async () => {
    const model = await untrainedModel()
    const openTeacher = () => Promise.reject(new Error('asked'))
    const plan = { ...SMALL_PLAN, loss: KNOWLEDGE, maxMemoryMib: 1 }
    const trainee = { model, trainable: trainableWeights(model, plan.trainable) }
    await expect(train(trainee, plan, await portsOf({ openTeacher }), signal)).rejects.toThrow('maxMemoryMib')
  })

  it('is shown samples as they were changed', async () => {
    const teacher = await untrainedModel(7)
    const plan = { ...SMALL_PLAN, augmentation: { shifts: [{ axis: 1, most: 3 }], mirrors: [], mixup: 1 } }
    const options = { ...(await optionsFor(teacher)), plan }
    const { feeds } = drawnData(options.data, plan)
    const present = await presentTeacher(options, [])
    const session = await openSession(encodeModel(teacher), { graphOptimization: 'all', threads: 1 })
    try {
      const turns = Array.from({ length: plan.batch }, (_, at) => 100 + at)
      const expected = (await session.run(await feeds(turns)))[scoresOf(teacher.graph, KNOWLEDGE)]?.data
      expect((await answersOf(present, options, turns))[TEACHER_INPUT]?.data).toEqual(expected)
    } finally {
      await session.release()
      await present.release()
    }
  })

  it('is fed what it takes alone', async () => {
    const options = await optionsFor(await untrainedModel())
    const data: AskingOptions['data'] = {
      ...options.data,
      feeds: async (indices) => {
        const feeds = await options.data.feeds(indices)
        return { ...feeds, other: { type: 'float32', dims: [indices.length], data: new Float32Array(indices.length) } }
      },
    }
    expect(
      (await answersOf(await knowingTeacher({ ...options, data }), { ...options, data }, [0]))[TEACHER_INPUT]?.dims,
    ).toEqual([1, 2])
  })

  it.each<[string, Model, string]>([
    ['takes another input', stranger('image', ['n', 30], 2), '"image"'],
    ['takes another shape', stranger('input', ['n', 31], 2), '[n, 31]'],
    ['has another fixed batch', stranger('input', [1, 30], 2), '"batch"'],
  ])('is refused where it %s', async (_, model, words) => {
    await expect(optionsFor(model).then(knowingTeacher)).rejects.toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining(words) }),
    )
  })

  it('is refused where it tells other classes apart, or its value has another shape', async () => {
    const model = await untrainedModel()
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    const plan = { ...SMALL_PLAN, loss: KNOWLEDGE }
    const foreign = await knowingTeacher(await optionsFor(stranger('input', ['n', 30], 3)))
    await expect(
      train(trainee, plan, await portsOf({ openTeacher: () => Promise.resolve(foreign) }), signal),
    ).rejects.toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('same classes') }),
    )
    const value = hiddenOf(model)
    const from = scoresOf(model.graph, KNOWLEDGE)
    expect(indexGraph(model.graph).producer(from)).toBeDefined()
    const present = await presentTeacher(await optionsFor(model), [{ value, from, weight: 1 }])
    const hinted = { ...SMALL_PLAN, hints: [{ value, from, weight: 1 }] }
    try {
      await expect(
        train(trainee, hinted, await portsOf({ openTeacher: () => Promise.resolve(present) }), signal),
      ).rejects.toThrow(
        expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining('same shape') }),
      )
    } finally {
      await present.release()
    }
  })
})
