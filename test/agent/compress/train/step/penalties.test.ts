import { describe, expect, it } from 'vitest'
import { emitClipping } from '../../../../../agent/compress/train/step/clip-gradients.ts'
import { emitPressure, type Penalty } from '../../../../../agent/compress/train/step/penalties.ts'
import type { TrainableWeight } from '../../../../../agent/compress/train/trainable.ts'
import { randomValues } from '../../support/graphs.ts'
import { floatFeed, runEmitted } from './support.ts'

const STRENGTH = 0.2
const REACH = 0.5
const LASSO: Penalty = { kind: 'group-lasso', strength: STRENGTH, spared: 0 }

/** A kernel whose channels lie on its second axis, one that makes the same channels and one more that stays, and a bias. */
const KERNEL = weight('kernel', [2, 3, 2], { axis: 1, numbers: Int32Array.of(0, 1, 2), spans: [[0, 3]] })
const MATRIX = weight('matrix', [4, 3], { axis: 0, numbers: Int32Array.of(2, -1, 0, 0), spans: [[0, 3]] })
const BIAS = { ...weight('bias', [3], { axis: 0, numbers: Int32Array.of(0, 1, 2), spans: [[0, 3]] }), decays: false }
const FREE = { ...weight('free', [2]), decays: false }
const WEIGHTS = [KERNEL, MATRIX, BIAS, FREE]
/** Number of the channel of each element, written down by hand. */
const CHANNELS = [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 2, 2, 2, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 2, -1, -1]
const DECAYING = 24

function weight(name: string, dims: readonly number[], removable?: TrainableWeight['removable']): TrainableWeight {
  return { name, dims, decays: true, channelAxis: 0, ...(removable && { removable }) }
}

const sizeOf = ({ dims }: TrainableWeight) => dims.reduce((product, dim) => product * dim, 1)
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** The elements of all weights in a row. */
async function given(penalties: readonly Penalty[], values: ArrayLike<number>) {
  let from = 0
  const feeds = WEIGHTS.map((one) => {
    const start = from
    from += sizeOf(one)
    return [one.name, floatFeed(one.dims, Array.from(values).slice(start, from))] as const
  })
  const outputs = await runEmitted((emit) => {
    for (const { name, dims } of WEIGHTS) emit.input(name, 'FLOAT', dims)
    const names = WEIGHTS.map(({ name }) => name)
    const pressure = emitPressure(emit, penalties, WEIGHTS)
    const gradients = names.map((name) => emit.add('Sub', [name, name]))
    const shrunk = pressure.shrunk(names, emit.scalar(REACH))
    const pulled = pressure.pulled(gradients)
    for (const [at, loss] of pressure.losses.entries()) emit.output(`loss${at}`, loss, [])
    for (const [at, { name, dims }] of WEIGHTS.entries()) {
      emit.output(`${name}/shrunk`, shrunk[at] ?? '', dims)
      emit.output(`${name}/pulled`, pulled[at] ?? '', dims)
    }
  }, Object.fromEntries(feeds))
  const joined = (what: string) => WEIGHTS.flatMap(({ name }) => outputs[`${name}/${what}`] ?? [])
  const loss = sum(penalties.flatMap((_, at) => outputs[`loss${at}`] ?? []))
  return { loss, shrunk: joined('shrunk'), pulled: joined('pulled') }
}

const isIn = (channel: number) => (_: number, at: number) => CHANNELS[at] === channel

function groupLasso(values: readonly number[], strength = STRENGTH) {
  const channels = [0, 1, 2].map((channel) => values.filter(isIn(channel)))
  const factors = channels.map((own) =>
    Math.max(0, 1 - (REACH * strength * Math.sqrt(own.length)) / Math.hypot(...own)),
  )
  return {
    loss: strength * sum(channels.map((own) => Math.sqrt(own.length) * Math.hypot(...own))),
    shrunk: values.map((value, at) => value * (factors[CHANNELS[at] ?? -1] ?? 1)),
    factors,
  }
}

function l1(values: readonly number[], strength = STRENGTH) {
  const soft = (value: number) => Math.sign(value) * Math.max(0, Math.abs(value) - REACH * strength)
  return {
    loss: strength * sum(values.slice(0, DECAYING).map(Math.abs)),
    shrunk: values.map((value, at) => (at < DECAYING ? soft(value) : value)),
  }
}

function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length)
  for (const [at, value] of expected.entries()) expect(actual[at]).toBeCloseTo(value, 5)
}

/** Channel 1 is small. */
const VALUES = Array.from(randomValues(CHANNELS.length, 5), (value, at) => value * (CHANNELS[at] === 1 ? 0.1 : 1))

describe('penalties', () => {
  it('of l2 are part of the gradient of weights that decay', async () => {
    const { loss, pulled, shrunk } = await given([{ kind: 'l2', strength: STRENGTH }], VALUES)
    const decaying = VALUES.map((value, at) => (at < DECAYING ? value : 0))
    expect(loss).toBeCloseTo((STRENGTH / 2) * sum(decaying.map((value) => value ** 2)), 5)
    expectClose(
      pulled,
      decaying.map((value) => STRENGTH * value),
    )
    expectClose(shrunk, VALUES)
  })

  it('of l1 bring weights that decay towards zero, and small ones to it', async () => {
    const { loss, pulled, shrunk } = await given([{ kind: 'l1', strength: STRENGTH }], VALUES)
    const expected = l1(VALUES)
    expect(loss).toBeCloseTo(expected.loss, 5)
    expectClose(shrunk, expected.shrunk)
    expect(pulled).toEqual(VALUES.map(() => 0))
    const zeros = VALUES.flatMap((value, at) => (at < DECAYING && Math.abs(value) < REACH * STRENGTH ? [at] : []))
    expect(zeros.length).toBeGreaterThan(2)
    expect(shrunk.flatMap((value, at) => (Object.is(value, 0) ? [at] : []))).toEqual(zeros)
  })

  it('of group lasso do so to all that makes a channel, whatever tensors and axes it lies on', async () => {
    const { loss, pulled, shrunk } = await given([LASSO], VALUES)
    const expected = groupLasso(VALUES)
    expect(expected.factors.map((factor) => factor > 0)).toEqual([true, false, true])
    expect(loss).toBeCloseTo(expected.loss, 5)
    expectClose(shrunk, expected.shrunk)
    expect(pulled).toEqual(VALUES.map(() => 0))
    expect(shrunk.filter(isIn(1)).every((value) => Object.is(value, 0))).toBe(true)
    expect(shrunk.filter(isIn(-1))).toEqual(VALUES.map(Math.fround).filter(isIn(-1)))
  })

  it('of several kinds act one after the other, and of one kind as one', async () => {
    const halves = { ...LASSO, strength: STRENGTH / 2 }
    const { loss, shrunk } = await given([halves, { kind: 'l1', strength: 0.05 }, halves], VALUES)
    const soft = l1(VALUES, 0.05)
    expect(loss).toBeCloseTo(soft.loss + groupLasso(VALUES).loss, 5)
    expectClose(shrunk, groupLasso(soft.shrunk).shrunk)
  })

  it('of trimmed group lasso spare the channels of the largest norms', async () => {
    const norms = [0, 1, 2].map((channel) => Math.hypot(...VALUES.filter(isIn(channel))))
    const largest = norms.indexOf(Math.max(...norms))
    const two = [0, 1, 2].filter((channel) => norms[channel] !== Math.min(...norms))
    for (const [spared, left] of [
      [0.3, [largest]],
      [0.33, [largest]],
      [0.34, two],
      [0.66, two],
    ] as const) {
      const { loss, shrunk } = await given([{ kind: 'group-lasso', strength: 1, spared }], VALUES)
      const all = groupLasso(VALUES, 1)
      const isSpared = (channel: number) => left.some((one) => one === channel)
      expectClose(
        shrunk,
        VALUES.map((value, at) => (isSpared(CHANNELS[at] ?? -1) ? value : (all.shrunk[at] ?? Number.NaN))),
      )
      const pressed = VALUES.map((value, at) => (isSpared(CHANNELS[at] ?? -1) ? 0 : value))
      expect(loss).toBeCloseTo(groupLasso(pressed, 1).loss, 4)
    }
  })

  it('leave an empty channel empty', async () => {
    const empty = VALUES.map((value, at) => (CHANNELS[at] === 2 ? 0 : value))
    const { shrunk } = await given([LASSO], empty)
    expect(shrunk.filter(isIn(2)).every((value) => value === 0)).toBe(true)
    expectClose(shrunk.filter(isIn(0)), groupLasso(empty).shrunk.filter(isIn(0)))
  })

  it.each([
    [{ kind: 'l1', strength: STRENGTH }, [FREE], /l1 presses on nothing: no matrix/],
    [{ kind: 'l2', strength: STRENGTH }, [BIAS], /l2 presses on nothing: no matrix/],
    [LASSO, [FREE, weight('stays', [2, 2])], /group-lasso presses on nothing: no channel/],
    [{ ...LASSO, spared: 0.9 }, WEIGHTS, /"spared" 0.9 spares all channels of layers that have 3 at most; lower it/],
  ] as const)('are refused where they press on nothing: %o', async (penalty, weights, message) => {
    const emitting = runEmitted((emit) => {
      emitPressure(emit, [penalty], weights)
    }, {})
    await expect(emitting).rejects.toMatchObject({ code: 'RECIPE_INVALID', message: expect.stringMatching(message) })
  })
})

describe('clipping', () => {
  const clipped = (maxNorm: number | undefined) =>
    runEmitted(
      (emit) => {
        const gradients = ['a', 'b'].map((name) => ({ value: emit.input(name, 'FLOAT', [2]), rank: 1 }))
        const { norm, gradients: results } = emitClipping(emit, gradients, maxNorm)
        emit.output('norm', norm, [])
        for (const [at, value] of results.entries()) emit.output(`clipped${at}`, value, [2])
      },
      { a: floatFeed([2], [3, 0]), b: floatFeed([2], [0, -4]) },
    )

  it('scales all gradients together down to the norm, and only down', async () => {
    const tight = await clipped(1)
    expect(tight['norm']).toEqual([5])
    expect(tight['clipped0']?.[0]).toBeCloseTo(0.6, 6)
    expect(tight['clipped1']?.[1]).toBeCloseTo(-0.8, 6)
    expect(await clipped(10)).toMatchObject({ clipped0: [3, 0], clipped1: [0, -4] })
    expect(await clipped(undefined)).toMatchObject({ norm: [5], clipped0: [3, 0] })
  })
})
