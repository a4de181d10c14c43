import { describe, expect, it } from 'vitest'
import {
  createTeller,
  type Standing,
  type TrainingProgress,
  trainingShare,
  trainingWords,
} from '../../../../agent/compress/train/progress.ts'
import { train } from '../../../../agent/compress/train/train.ts'
import { trainableWeights } from '../../../../agent/compress/train/trainable.ts'
import { portsOf, SMALL_PLAN, untrainedModel } from './support/breast-cancer-training.ts'

const at: Standing = { update: 350, updates: 600, loss: 0.412, score: 0.9341, bestScore: 0.9393, remainingMs: 31_200 }

describe('the words of progress', () => {
  it.each<readonly [TrainingProgress, string]>([
    [{ doing: 'updating', at }, 'update 350 of 600, about 31 s left, loss 0.412, 93.41 % on tuning (best 93.93 %)'],
    [
      { doing: 'updating', at: { ...at, update: 0.5, loss: null, score: null, bestScore: null, remainingMs: null } },
      'update 0 of 600',
    ],
    [
      { doing: 'updating', at: { ...at, loss: null, score: null, remainingMs: 4 * 3_600_000 } },
      'update 350 of 600, about 4.0 h left',
    ],
    [
      { doing: 'looking', at: { ...at, score: null }, share: 0.25 },
      'update 350 of 600, looking at the tuning split, 25 %, loss 0.412',
    ],
    [
      { doing: 'cooling', at: { ...at, score: null }, celsius: 84.5, waitedMs: 300_000 },
      'update 350 of 600, paused for 5 min at 84.5 °C, loss 0.412',
    ],
    [{ doing: 'asking', samples: 64, total: 200 }, 'asking the teacher, sample 64 of 200'],
  ])('say where training stands: %#', (progress, words) => {
    expect(trainingWords(progress)).toBe(words)
  })
})

it('tells the time that is left by the pace of this run, whatever an earlier one did', () => {
  let nowMs = 5000
  const teller = createTeller(600, () => nowMs)
  const seen = { loss: 1, score: 0.5, bestScore: 0.5 }
  teller.see({ ...seen, update: 400 })
  expect(teller.standing().remainingMs).toBeNull()
  // Before the first update, a teacher may be asked at length.
  nowMs += 60_000
  teller.see({ ...seen, update: 400 })
  nowMs += 1000
  expect(teller.standing(0.5)).toMatchObject({ update: 400.5, updates: 600, remainingMs: 399_000 })
  nowMs += 1000
  teller.see({ ...seen, update: 401 })
  expect(teller.standing().remainingMs).toBe(398_000)
})

it('comes after every batch and every part of a look, however slow they are', async () => {
  const model = await untrainedModel()
  const plan = { ...SMALL_PLAN, batch: 16, accumulation: 4, updates: 4, evaluateEvery: 2 }
  /** What is said while one thing, which may take as long as it likes, is done. */
  let saidSince = 0
  const quiet: number[] = []
  const progress: TrainingProgress[] = []
  const given = await portsOf()
  const ports = await portsOf({
    data: {
      ...given.data,
      feeds(indices) {
        quiet.push(saidSince)
        saidSince = 0
        return given.data.feeds(indices)
      },
    },
    judge(_, onShare) {
      for (const share of [0.5, 1]) {
        onShare(share)
        quiet.push(saidSince)
        saidSince = 0
      }
      return Promise.resolve(0.5)
    },
    onProgress(now) {
      saidSince += 1
      progress.push(now)
    },
  })

  await train({ model, trainable: trainableWeights(model, plan.trainable) }, plan, ports, new AbortController().signal)

  // 16 batches and 3 looks of two parts; before the first batch there is nothing to be said.
  expect(quiet).toHaveLength(22)
  expect(quiet.slice(3).every((said) => said > 0)).toBe(true)
  const shares = progress.map(trainingShare)
  expect(shares).toEqual([...shares].sort((a, b) => a - b))
  expect(shares.at(-1)).toBe(1)
  const words = new Set(progress.map(trainingWords))
  expect(words.size).toBeGreaterThan(6)
})
