import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { accuracyFigures } from '../../../agent/measure/accuracy-figures.ts'
import { readReference, writeReference } from '../../../agent/measure/reference.ts'
import { relativeError, scorerFor } from '../../../agent/measure/scoring.ts'
import type { Verdicts } from '../../../agent/measure/verdicts.ts'

function verdicts(given: { values?: number[]; right?: number[]; logits?: number[] }): Verdicts {
  const { values = [0, 0, 0, 0], right, logits } = given
  return {
    count: values.length,
    values: Float64Array.from(values),
    right: right === undefined ? null : Uint8Array.from(right),
    kept: logits === undefined ? [] : [{ name: 'logits', rowLength: 1, data: Float32Array.from(logits) }],
  }
}

describe('the score of a sample', () => {
  const sample = (row: number[], label: number | null, lastAxis = row.length) => ({
    row: Float64Array.from(row),
    lastAxis,
    outputs: {},
    label: label === null ? null : Float64Array.of(label),
  })

  it('is the class with the largest output, the first of equals', async () => {
    const score = await scorerFor({ kind: 'classification' })

    expect(score(sample([1, 3, 2], 1))).toEqual({ value: 1, right: true })
    expect(score(sample([3, 3, 2], 1))).toEqual({ value: 0, right: false })
    expect(score(sample([1, 2], null))).toEqual({ value: 1, right: null })
  })

  it('is never right where an output is not a number', async () => {
    const score = await scorerFor({ kind: 'classification' })

    expect(score(sample([Number.NaN, 1], 0))).toEqual({ value: -1, right: false })
    expect(score(sample([1, Number.NaN], 0))).toEqual({ value: -1, right: false })
  })

  it('refuses a classification of many rows a sample', async () => {
    const score = await scorerFor({ kind: 'classification' })

    expect(() => score(sample([1, 2, 3, 4], 0, 2))).toThrow(/4 values in rows of 2/)
  })

  it('is on the side of the threshold, which counts as positive', async () => {
    const score = await scorerFor({ kind: 'binary-score', threshold: 0.5 })

    expect(score(sample([0.5], 1))).toEqual({ value: 0.5, right: true })
    expect(score(sample([0.4], 1)).right).toBe(false)
    expect(score(sample([0.4], 0)).right).toBe(true)
    expect(score(sample([Number.NaN], 0)).right).toBe(false)
    expect(score(sample([Number.NaN], 1)).right).toBe(false)
    expect(() => score(sample([0.4, 0.6], 0))).toThrow(/one score a sample/)
  })

  it('is within the tolerance of a regression, its edge included', async () => {
    const score = await scorerFor({ kind: 'regression', tolerance: 0.25 })

    expect(score(sample([5], 4)).right).toBe(true)
    expect(score(sample([5.1], 4)).right).toBe(false)
    expect(relativeError([3, 4], [3, 4])).toBe(0)
    expect(relativeError([0, 1], [0, 0])).toBe(Number.POSITIVE_INFINITY)
    expect(() => score(sample([1, 2], 4))).toThrow(/one label a value/)
  })
})

describe('the accuracy figures', () => {
  it('do not take NaN for a no that agrees with the no of fp32', () => {
    const baseline = verdicts({ values: [0.1, 0.2, 0.3, 0.9] })
    const variant = verdicts({ values: [Number.NaN, 0.2, Number.NaN, 0.8] })

    const task = { kind: 'binary-score', threshold: 0.5 } as const
    const figures = accuracyFigures({ task, labels: null, variant, baseline })

    expect(figures.accuracy).toMatchObject({ metric: 'agreement', value: 0.5 })
  })

  it('pair the samples', () => {
    const baseline = verdicts({ right: [1, 1, 0, 0], logits: [1, 1, 1, 1] })
    const variant = verdicts({ right: [1, 0, 1, 0], logits: [1, 1, 1, 1.1] })

    const figures = accuracyFigures({ task: { kind: 'classification' }, labels: null, variant, baseline })

    expect(figures).toMatchObject({
      accuracy: { metric: 'top1', value: 0.5, count: 4 },
      paired: { both: 1, onlyVariant: 1, onlyBaseline: 1, neither: 1 },
      difference: null,
    })
    // 10 log10(4 / 0.1^2), but for the rounding of 1.1 to float32.
    expect(figures.sqnrDb).toBeCloseTo(26.02, 2)
  })

  it('have no noise ratio where outputs were not kept or are not numbers', () => {
    const task = { kind: 'classification' } as const
    const baseline = verdicts({ right: [1], values: [0], logits: [1] })
    const figuresOf = (variant: Verdicts) => accuracyFigures({ task, labels: null, variant, baseline })

    expect(figuresOf(verdicts({ right: [1], values: [0] })).sqnrDb).toBeNull()
    expect(figuresOf(verdicts({ right: [1], values: [0], logits: [Number.NaN] })).sqnrDb).toBeNull()
    expect(figuresOf(verdicts({ right: [1], values: [0], logits: [1] })).sqnrDb).toBe(200)
  })

  it('compare decisions with fp32 where there are no labels', () => {
    const task = { kind: 'binary-score', threshold: 0.5 } as const
    const baseline = verdicts({ values: [0.9, 0.6, 0.4, 0.1] })
    const variant = verdicts({ values: [0.8, 0.4, 0.45, 0.2] })

    expect(accuracyFigures({ task, labels: null, variant, baseline })).toMatchObject({
      accuracy: { metric: 'agreement', value: 0.75 },
      paired: { both: 3, onlyVariant: 0, onlyBaseline: 1, neither: 0 },
    })
  })

  it('give the AUC and its loss, one-sided', () => {
    const task = { kind: 'binary-score' } as const
    const labels = Float64Array.of(0, 0, 1, 1)
    const baseline = verdicts({ values: [0.1, 0.2, 0.8, 0.9] })
    const variant = verdicts({ values: [0.1, 0.85, 0.8, 0.9] })

    const figures = accuracyFigures({ task, labels, variant, baseline })

    expect(figures).toMatchObject({ accuracy: { metric: 'auc', value: 0.75 }, paired: null })
    expect(figures.difference?.value).toBe(-0.25)
    expect(figures.difference?.low).toBeLessThan(-0.25)
  })

  it('refuse an AUC of one class, and one of scores that are not finite', () => {
    const task = { kind: 'binary-score' } as const
    const variant = verdicts({ values: [0.1, 0.2, Number.NaN, 0.9] })

    expect(() => accuracyFigures({ task, labels: Float64Array.of(1, 1, 1, 0), variant, baseline: variant })).toThrow(
      expect.objectContaining({ code: 'DATASET_MISMATCH' }),
    )
    expect(() => accuracyFigures({ task, labels: Float64Array.of(1, 1, 0, 0), variant, baseline: variant })).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }),
    )
  })
})

describe('the file of what fp32 said', () => {
  const path = join(tmpdir(), `edgefit-reference-${process.pid}`)
  afterEach(() => rmSync(path, { force: true }))

  it('gives back what was written', async () => {
    const judged = verdicts({ values: [1, 2.5, -3], right: [1, 0, 1], logits: [0.1, 0.2, 0.3] })
    await writeReference(path, 'a', judged)
    expect(await readReference(path, 'a')).toEqual(judged)

    const unjudged = verdicts({ values: [Number.NaN] })
    await writeReference(path, 'b', unjudged)
    expect(await readReference(path, 'b')).toEqual(unjudged)
  })

  it('is as good as absent when it is of something else or damaged', async () => {
    expect(await readReference(path, 'a')).toBeUndefined()
    await writeReference(path, 'a', verdicts({ right: [1, 1, 1, 1] }))
    expect(await readReference(path, 'b')).toBeUndefined()

    truncateSync(path, readFileSync(path).length - 1)
    expect(await readReference(path, 'a')).toBeUndefined()
    for (const text of ['', 'ab', '\u00ff\u00ff\u00ff\u00ff not ours']) {
      writeFileSync(path, text)
      expect(await readReference(path, 'a')).toBeUndefined()
    }
  })
})
