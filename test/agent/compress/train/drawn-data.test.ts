import { Training } from '@edgefit/shared/model'
import { seededRandom } from '@edgefit/shared/stats'
import { describe, expect, it } from 'vitest'
import { symmetricBeta } from '../../../../agent/compress/train/augment.ts'
import { drawnData } from '../../../../agent/compress/train/drawn-data.ts'
import type { TrainingData } from '../../../../agent/compress/train/training-data.ts'

const [COUNT, ROWS, COLUMNS] = [50, 4, 6]

/** Sample s has 100 s + 10 row + column at [0, row, column], and the label s. */
const data: TrainingData = {
  count: COUNT,
  hasLabels: true,
  feeds: (samples) => {
    const values = samples.flatMap((sample) =>
      Array.from({ length: ROWS * COLUMNS }, (_, at) => 100 * sample + 10 * Math.floor(at / COLUMNS) + (at % COLUMNS)),
    )
    const dims = [samples.length, 1, ROWS, COLUMNS]
    return Promise.resolve({
      image: { type: 'float32', dims, data: Float32Array.from(values) },
      other: { type: 'float32', dims: [samples.length], data: Float32Array.from(samples) },
    })
  },
  labels: (samples) => Promise.resolve(Float64Array.from(samples)),
}

const drawn = (augmentation?: object, seed = 3) =>
  drawnData(
    data,
    Training.parse({
      updates: 1,
      batch: 8,
      seed,
      ...(augmentation && { augmentation: { input: 'image', ...augmentation } }),
    }),
  )
const TURNS = Array.from({ length: 400 }, (_, at) => at)

/** Samples at `TURNS`, each as rows of numbers, less what says which sample it is. */
async function images(given: ReturnType<typeof drawn>): Promise<readonly (readonly (readonly number[])[])[]> {
  const values = (await given.feeds(TURNS))['image']?.data ?? []
  return TURNS.map((turn) => {
    const own = 100 * given.sampleAt(turn)
    return Array.from({ length: ROWS }, (_, row) =>
      Array.from({ length: COLUMNS }, (__, at) => Number(values[(turn * ROWS + row) * COLUMNS + at]) - own),
    )
  })
}

const row = (first: number, columns: readonly number[]) => columns.map((column) => first + column)
const asTheyAre = Array.from({ length: ROWS }, (_, at) => row(10 * at, [0, 1, 2, 3, 4, 5]))

describe('samples in the order of their turns', () => {
  it('come as they are, with their labels, and are the same again', async () => {
    const plain = drawn()
    for (const image of await images(plain)) expect(image).toEqual(asTheyAre)
    expect([...(await plain.labels(TURNS))]).toEqual(TURNS.map(plain.sampleAt))
    expect(new Set(TURNS.slice(0, 48).map(plain.sampleAt)).size).toBe(48)
  })

  it('are shifted along an axis by up to so much, and repeat the edge', async () => {
    const shifted = await images(drawn({ shifts: [{ axis: 3, most: 2 }] }))
    const kinds = new Map(shifted.map((image) => [image[0]?.join(), image]))
    const first = [
      [0, 0, 0, 1, 2, 3],
      [0, 0, 1, 2, 3, 4],
      [0, 1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5, 5],
      [2, 3, 4, 5, 5, 5],
    ]
    expect([...kinds.keys()].sort()).toEqual(first.map((columns) => columns.join()).sort())
    for (const columns of first) {
      expect(kinds.get(columns.join())).toEqual([0, 10, 20, 30].map((start) => row(start, columns)))
      // Equally likely: 80 of 400 each, and hardly fewer than 50.
      expect(shifted.filter((image) => image[0]?.join() === columns.join()).length).toBeGreaterThan(50)
    }
  })

  it('are turned round along an axis in half of the cases', async () => {
    const turned = await images(drawn({ mirrors: [2] }))
    const upsideDown = turned.filter((image) => image[0]?.[0] === 30)
    for (const image of upsideDown) expect(image).toEqual(asTheyAre.toReversed())
    expect(upsideDown.length).toBeGreaterThan(150)
    expect(upsideDown.length).toBeLessThan(250)
  })

  it('change along several axes by chances that do not hang together', async () => {
    const changed = await images(
      drawn({
        shifts: [
          { axis: 2, most: 1 },
          { axis: 3, most: 1 },
        ],
        mirrors: [3],
      }),
    )
    expect(new Set(changed.map((image) => image.join())).size).toBe(3 * 3 * 2)
  })

  it('are mixed with other samples, changed like these, and leave other inputs alone', async () => {
    const plan = { mirrors: [3], mixup: 1 }
    const given = drawn(plan)
    const values = await given.feeds(TURNS)
    expect([...(values['other']?.data ?? [])]).toEqual(TURNS.map(given.sampleAt))
    const mixtures = await images(given)
    let [least, most] = [Number.POSITIVE_INFINITY, 0]
    for (const image of mixtures) {
      // λ a + (1 - λ) b, where a and b are alike up to a constant each, if both or neither is turned round.
      const slope = (image[0]?.[1] ?? 0) - (image[0]?.[0] ?? 0)
      ;[least, most] = [Math.min(least, slope), Math.max(most, slope)]
      expect(Math.abs(slope)).toBeLessThan(1 + 1e-3)
    }
    expect(least).toBeLessThan(-0.9)
    expect(most).toBeGreaterThan(0.9)
  })

  it('change anew at every turn, alike for the same seed, whatever else is asked with them', async () => {
    const plan = {
      shifts: [
        { axis: 2, most: 2 },
        { axis: 3, most: 2 },
      ],
      mixup: 0.4,
    }
    const values = async (turns: readonly number[], seed?: number) =>
      (await drawn(plan, seed).feeds(turns))['image']?.data
    const [whole, again] = [await values([5, 6, 7]), await values([6])]
    expect(whole?.slice(24, 48)).toEqual(again)
    expect(await values([5, 6, 7])).toEqual(whole)
    expect(await values([5, 6, 7], 4)).not.toEqual(whole)
    expect((await images(drawn(plan)))[0]).not.toEqual((await images(drawn(plan)))[48])
  })

  it.each([0.2, 1, 3])('are mixed in shares from Beta(%d, %d)', (alpha) => {
    const random = seededRandom(1)
    const shares = Array.from({ length: 20_000 }, () => symmetricBeta(alpha, random))
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length
    const variance = shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length
    expect(mean).toBeCloseTo(0.5, 1)
    expect(variance * 4 * (2 * alpha + 1)).toBeCloseTo(1, 1)
  })
})
