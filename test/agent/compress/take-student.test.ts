import { Recipe } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { requireReplacement, type Student } from '../../../agent/compress/take-student.ts'
import { modelOf, op, randomTensor } from './support/graphs.ts'

interface Shape {
  readonly inputs?: Readonly<Record<string, readonly (number | string)[]>>
  readonly output?: string
  readonly classes?: number
  readonly squashed?: boolean
}

function network({ inputs = { x: ['n', 4] }, output = 'y', classes = 3, squashed = false }: Shape = {}): Model {
  const [first = 'x', second] = Object.keys(inputs)
  const features = inputs[first]?.at(-1)
  return modelOf({
    inputs,
    outputs: [output],
    nodes: [
      ...(second === undefined ? [] : [op('Add', `${first} ${second} -> sum`)]),
      op('MatMul', `${second === undefined ? first : 'sum'} w -> ${squashed ? 'scores' : output}`),
      ...(squashed ? [op('Softmax', `scores -> ${output}`)] : []),
    ],
    constants: [randomTensor('w', [typeof features === 'number' ? features : 4, classes], 1)],
  })
}

const DIGEST = 'd'.repeat(64)

function build(student: Student | undefined) {
  return buildVariant({
    source: network({ squashed: true }),
    ...(student && { student }),
    recipe: Recipe.parse({ passes: [{ pass: 'take-student', digest: DIGEST }], runtime: { intraOpThreads: 1 } }),
    calibration: { count: 0, batch: () => ({}) },
    openSession: () => Promise.reject(new Error('runs nothing')),
    threads: 1,
    signal: new AbortController().signal,
  })
}

describe('a student', () => {
  it('takes the place of the source, and the recipe goes on naming it', async () => {
    const model = network()
    const { model: built, resolved, reports } = await build({ model, digest: DIGEST })
    expect(built).toBe(model)
    expect(resolved.passes).toEqual([{ pass: 'take-student', digest: DIGEST }])
    expect(reports[0]?.notes).toEqual([
      'the student has 12 float parameters, the source 12',
      'the source gives probabilities, the student the scores before them: mind what reads them',
    ])
  })

  it.each<[string, Student | undefined, string]>([
    ['none', undefined, 'none was given'],
    ['another', { model: network(), digest: 'e'.repeat(64) }, `the one given is ${'e'.repeat(64)}`],
  ])('is the one that the recipe names, and not %s', async (_, student, words) => {
    await expect(build(student)).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining(words),
    })
  })

  it.each<[string, Shape]>([
    ['the same', {}],
    ['a fixed batch', { inputs: { x: [1, 4] } }],
  ])('replaces a source with %s inputs and outputs', (_, shape) => {
    expect(() => requireReplacement(network(), network(shape))).not.toThrow()
  })

  it.each<[Shape, string]>([
    [{ inputs: { image: ['n', 4] } }, 'the student has no input "x" float32 [n, 4]'],
    [{ inputs: { x: ['n', 5] } }, 'the student takes float32 [n, 5] as "x", the source float32 [n, 4] as "x"'],
    [{ inputs: { x: ['n', 1, 4] } }, 'the student takes float32 [n, 1, 4]'],
    [{ inputs: { x: ['n', 4], z: ['n', 4] } }, 'takes an input "z" besides'],
    [{ output: 'logits' }, 'the student gives float32 [n, 3] as "logits", the source float32 [n, 3] as "y"'],
    [{ classes: 7 }, 'the student gives float32 [n, 7] as "y"'],
  ])('does not replace it with %j', (shape, words) => {
    expect(() => requireReplacement(network(), network(shape))).toThrow(
      expect.objectContaining({ code: 'INPUT_INVALID', message: expect.stringContaining(words) }),
    )
  })
})
