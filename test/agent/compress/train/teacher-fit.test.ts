import { Pass, Recipe, Training } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../../agent/compress/index.ts'
import { requireFittingTeacher } from '../../../../agent/compress/train/teacher-fit.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'

/** A hidden value `h` of so many numbers, and so many classes. */
function network(hidden: number, classes: number, squashed = false): Model {
  return modelOf({
    inputs: { x: ['n', 4] },
    outputs: ['y'],
    nodes: [
      op('MatMul', 'x w -> h'),
      op('Relu', 'h -> r'),
      op('MatMul', `r v -> ${squashed ? 'scores' : 'y'}`),
      ...(squashed ? [op('Softmax', 'scores -> y')] : []),
    ],
    constants: [randomTensor('w', [4, hidden], 1), randomTensor('v', [hidden, classes], 2)],
  })
}

const lesson = (training: object) => Training.parse({ updates: 1, ...training })
const DISTILLED = lesson({ loss: { kind: 'distillation' } })

describe('a teacher', () => {
  it('fits a student of other widths, by the scores before probabilities', () => {
    expect(() => requireFittingTeacher(DISTILLED, network(8, 3, true), network(5, 3))).not.toThrow()
    const hinted = lesson({ hints: [{ value: 'h', from: 'r' }] })
    expect(() => requireFittingTeacher(hinted, network(8, 3), network(8, 4))).not.toThrow()
  })

  it.each<[string, object, string]>([
    ['classes', { loss: { kind: 'distillation' } }, 'loss: the teacher\'s "y" is [n, 4], the student\'s "y" [n, 3]'],
    ['a width', { hints: [{ value: 'h' }] }, 'hints[0]: the teacher\'s "h" is [n, 8], the student\'s "h" [n, 5]'],
    ['no such value', { hints: [{ value: 'h', from: 'deep' }] }, 'hints[0].from: the teacher has no value "deep"'],
    [
      'a student without the value',
      { hints: [{ value: 'mine', from: 'h' }] },
      'hints[0].value: the student has no value "mine"',
    ],
  ])('does not fit by %s', (_, training, words) => {
    const [teacher, student] = [network(8, 4), network(5, 3)]
    expect(() => requireFittingTeacher(lesson(training), teacher, student)).toThrow(
      expect.objectContaining({ code: 'RECIPE_INVALID', message: expect.stringContaining(words) }),
    )
  })

  it.each<[string, object, string, RegExp]>([
    ['a hint that it cannot give', { hints: [{ value: 'deep' }] }, 'RECIPE_INVALID', /has no value "deep"/],
    ['labels beside it that nobody gives', DISTILLED, 'DATASET_MISMATCH', /has none; .* distil with "mixing" 1/],
  ])('is refused for %s before the passes in front do anything', async (_, training, code, words) => {
    const started: string[] = []
    const pass = Pass.parse({ pass: 'fine-tune', updates: 1, ...training })
    const data = {
      count: 1,
      hasLabels: pass.pass === 'fine-tune' && pass.hints.length > 0,
      feeds: never,
      labels: never,
    }
    const built = buildVariant({
      source: network(8, 3),
      recipe: Recipe.parse({ passes: [{ pass: 'fold-constants' }, pass], runtime: { intraOpThreads: 1 } }),
      calibration: { count: 0, batch: () => ({}) },
      training: { data, judge: never, scratchPath: '', dataKey: '', monotonicNow: () => 0 },
      openSession: never,
      threads: 1,
      onProgress: (progress) => started.push(progress.pass),
      signal: new AbortController().signal,
    })
    await expect(built).rejects.toMatchObject({ code, message: expect.stringMatching(words) })
    await expect(built).rejects.toThrow(/^pass 2, fine-tune: /)
    expect(started).toEqual([])
  })
})

function never(): Promise<never> {
  return Promise.reject(new Error('is not to be asked'))
}
