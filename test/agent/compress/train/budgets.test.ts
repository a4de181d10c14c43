import { describe, expect, it } from 'vitest'
import { createCooler } from '../../../../agent/compress/train/cool-down.ts'
import { buildStep } from '../../../../agent/compress/train/step/build-step.ts'
import { peakBytes } from '../../../../agent/compress/train/step/step-memory.ts'
import { stepWithin } from '../../../../agent/compress/train/step-within.ts'
import { type TrainingPorts, train as trainWeights } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const signal = new AbortController().signal

async function train(plan: Partial<typeof SMALL_PLAN>, ports: Partial<TrainingPorts> = {}) {
  const model = await untrainedModel()
  const trainee = { model, trainable: trainableWeights(model, SMALL_PLAN.trainable) }
  return await trainWeights(trainee, { ...SMALL_PLAN, ...plan }, await portsOf(ports), signal)
}

/** A clock that goes on by itself only while an update is made, by the samples that are asked for. */
async function clocked(updateMs: number) {
  let nowMs = 0
  const { data } = await portsOf()
  return {
    monotonicNow: () => nowMs,
    data: {
      ...data,
      feeds(indices: readonly number[]) {
        nowMs += updateMs
        return data.feeds(indices)
      },
    },
  }
}

const within = (budgetMs: number) => (elapsedMs: number) =>
  elapsedMs >= budgetMs ? `the time budget of ${budgetMs} ms is spent` : undefined

describe('a budget in time', () => {
  it('that ends before the first update is refused, with how long one takes', async () => {
    const run = train({}, { ...(await clocked(2500)), startedMs: -60_000, exhausted: within(60_000) })
    await expect(run).rejects.toMatchObject({
      code: 'TRIAL_FAILED',
      details: { reason: 'timeout', updateMs: 2500 },
      message: expect.stringMatching(/nothing was trained.*60000 ms.*62\.5 s.*2\.5 s/),
    })
  })

  it('that ends between two looks is followed by one, so that nothing trained is lost', async () => {
    const trained = await train({ evaluateEvery: 30 }, { ...(await clocked(1000)), exhausted: within(12_000) })
    expect(trained).toMatchObject({ updates: 12, bestUpdate: 12, updateMs: 1000 })
    expect(trained.history.map(({ update }) => update)).toEqual([0, 12])
    expect(trained.bestScore).toBeGreaterThan(trained.initialScore)
  })

  it('says where no update was of use', async () => {
    const { notes } = await train({ updates: 4, evaluateEvery: 2 }, { judge: () => Promise.resolve(0.5) })
    expect(notes.join()).toContain('its weights are as they were')
  })
})

describe('a budget in memory', () => {
  it('is kept by batches in parts, which come to the same weights', async () => {
    const whole = await train({ updates: 20, batch: 64 })
    const model = await untrainedModel()
    const trainee = { model, trainable: trainableWeights(model, SMALL_PLAN.trainable) }
    const plan = { ...SMALL_PLAN, batch: 64 }
    const [least, most] = [64, 1].map((parts) => stepWithin(trainee, { ...plan, batch: 64 / parts }).memoryMib)
    const maxMemoryMib = ((least ?? 0) + 2 * (most ?? 0)) / 3
    const chosen = stepWithin(trainee, { ...plan, maxMemoryMib })
    expect(chosen.parts).toBeGreaterThan(1)
    expect(chosen.memoryMib).toBeLessThanOrEqual(maxMemoryMib)
    const divided = await train({ updates: 20, batch: 64, maxMemoryMib })
    // The samples of every update are the same: in later epochs too.
    for (const [name, weights] of whole.weights) {
      const others = divided.weights.get(name) ?? new Float32Array()
      for (const [at, weight] of weights.entries()) expect(others[at]).toBeCloseTo(weight, 4)
    }
    expect(divided.notes.join()).toContain(`in ${chosen.parts} parts`)
    expect((await train({ updates: 20, batch: 64, maxMemoryMib })).weights).toEqual(divided.weights)
  })

  it('that one sample exceeds is refused with the figures, and so is any where the batch is fixed', async () => {
    const refused = {
      code: 'TRIAL_FAILED',
      details: { reason: 'out-of-memory' },
      message: expect.stringContaining('100'),
    }
    await expect(train({ maxMemoryMib: 100 })).rejects.toMatchObject(refused)
    const model = modelOf({
      inputs: { x: [32, 8] },
      outputs: ['y'],
      nodes: [op('Gemm', 'x w -> y')],
      constants: [randomTensor('w', [8, 2], 1)],
    })
    const trainee = { model, trainable: trainableWeights(model, { kind: 'all' }) }
    expect(() => stepWithin(trainee, { ...SMALL_PLAN, maxMemoryMib: 100 })).toThrow(/^(?!.*sample by sample)/)
  })

  it('says where the process took more after all', async () => {
    const { notes } = await train({ updates: 2, maxMemoryMib: 1000 }, { peakRssBytes: () => 2000 * 2 ** 20 })
    expect(notes.join()).toContain('the process took 2000 MiB')
  })

  it('counts what is alive at once, by hand', () => {
    const model = modelOf({
      inputs: { x: [4, 8] },
      outputs: ['y'],
      nodes: [
        op('MatMul', 'x w -> a'), // 4 × 16
        op('Relu', 'a -> b'), // 4 × 16, beside a
        op('Identity', 'b -> c'), // where b is
        op('MatMul', 'c v -> y'), // 4 × 2, beside c
      ],
      constants: [randomTensor('w', [8, 16], 1), randomTensor('v', [16, 2], 2)],
    })
    const constant = 8 * 16 + 16 * 2 + 4 * 8
    expect(peakBytes(model)).toBe(4 * (constant + 2 * 4 * 16))
  })

  it('grows with the batch and with what is trained', async () => {
    const model = await untrainedModel()
    const peakOf = (batch: number, layers?: number) =>
      peakBytes(
        buildStep({
          ...SMALL_PLAN,
          model,
          batch,
          trainable: trainableWeights(model, layers === undefined ? { kind: 'all' } : { kind: 'last-layers', layers }),
        }).model,
      )
    expect(peakOf(512)).toBeGreaterThan(2 * peakOf(64))
    expect(peakOf(512, 1)).toBeLessThan(peakOf(512))
  })
})

describe('a limit to the temperature', () => {
  /** A box that heats up by `heating` degrees an update and cools down by 1 degree a second. */
  async function box(from: number, heating: number) {
    let celsius = from
    const waits: number[] = []
    const clock = await clocked(1000)
    let sleptMs = 0
    return {
      waits,
      ports: {
        monotonicNow: () => clock.monotonicNow() + sleptMs,
        data: {
          ...clock.data,
          feeds(indices: readonly number[]) {
            celsius += heating
            return clock.data.feeds(indices)
          },
        },
        thermometer: {
          celsius: () => celsius,
          sleep(ms: number) {
            waits.push(ms)
            sleptMs += ms
            celsius -= ms / 1000
            return Promise.resolve()
          },
        },
      },
    }
  }

  it('pauses training, and changes nothing in what comes of it', async () => {
    const { ports, waits } = await box(60, 5)
    const paused: number[] = []
    const trained = await train(
      {},
      {
        ...ports,
        pauseAboveCelsius: 80,
        onProgress: (progress) => progress.doing === 'cooling' && paused.push(progress.celsius),
      },
    )
    expect(trained.weights).toEqual((await train({})).weights)
    expect(paused.length).toBe(waits.length)
    expect(paused.every((celsius) => celsius > 75)).toBe(true)
    // Down to 75 from 85, longer each time: 1, 2, 4, 8 s. Time at work is told apart.
    expect(waits.slice(0, 5)).toEqual([1000, 2000, 4000, 8000, 1000])
    expect(trained.updateMs).toBe(1000)
    expect(trained.notes.join()).toMatch(/paused for \d+ s/)
  })

  it('lets the time budget go on, which ends training while it waits', async () => {
    const { ports } = await box(75, 10)
    const trained = await train({}, { ...ports, pauseAboveCelsius: 80, exhausted: within(10_000) })
    expect(trained.updates).toBe(1)
    expect(trained.notes.join()).toContain('10000 ms')
  })

  it('gives up on a box that does not become cooler, and refuses where nothing is trained by then', async () => {
    let nowMs = 0
    const stove = {
      celsius: () => 90,
      sleep: (ms: number) => {
        nowMs += ms
        return Promise.resolve()
      },
    }
    const ports = { monotonicNow: () => nowMs, thermometer: stove, pauseAboveCelsius: 80 }
    await expect(train({}, ports)).rejects.toMatchObject({
      code: 'TRIAL_FAILED',
      message: expect.stringMatching(
        /nothing was trained: the box is still at 90 °C.*30 min.*"pauseAboveCelsius" is 80/,
      ),
    })
    expect(nowMs).toBeLessThan(31 * 60_000)
  })

  it('has no effect without a sensor, and says so', async () => {
    const { notes } = await train({ updates: 2 }, { pauseAboveCelsius: 80 })
    expect(notes.join()).toContain('no temperature sensor')
    const mute = { celsius: () => null, sleep: () => Promise.reject(new Error('slept')) }
    expect((await train({ updates: 2 }, { pauseAboveCelsius: 80, thermometer: mute })).notes.join()).toContain(
      'no temperature sensor',
    )
    expect((await train({ updates: 2 })).notes.join()).not.toContain('sensor')
  })

  it('can be interrupted while it waits', async () => {
    const abort = new AbortController()
    const cooler = createCooler({
      pauseAboveCelsius: 80,
      thermometer: {
        celsius: () => 90,
        sleep: (_, given) => (given.aborted ? Promise.reject(given.reason) : Promise.resolve()),
      },
      monotonicNow: () => 0,
      exhausted: () => false,
      onWait: () => abort.abort(new Error('stopped')),
    })
    await expect(cooler.cooledDown(abort.signal)).rejects.toThrow('stopped')
  })
})
