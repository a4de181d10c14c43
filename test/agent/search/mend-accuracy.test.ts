import type { LayerSensitivity, Objective, Pass, Recipe } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import type { Lab, Measured } from '../../../agent/search/lab.ts'
import { runStudy } from '../../../agent/search/study.ts'
import { memoryStudyStore } from '../../../agent/search/study-store.ts'
import type { StudyEvent, StudyInput } from '../../../agent/search/study-types.ts'
import { measurement, recipe } from '../../support/measurements.ts'
import { digestOf, studyOf } from './support.ts'

const OBJECTIVE: Objective = { latencyP90Ms: 1, accuracy: { kind: 'relative', value: 0.99 }, minimize: 'latency' }
const STATIC: Pass = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: true, reducedRange: false },
  calibration: { method: 'minmax', samples: 50 },
  exclude: [],
}

/** Layers in the order of their rank; the first `faster` of them are faster in float. */
function ranking(count: number, faster = 0): LayerSensitivity[] {
  return Array.from({ length: count }, (_, at) => ({
    layer: `layer ${at}`,
    opType: 'Conv',
    sqnrDb: at,
    noiseRatio: 1 / (at + 1),
    klDivergence: null,
    lostMs: at < faster ? { value: -1, low: -2, high: -0.5 } : { value: 0.01, low: 0.005, high: 0.02 },
  }))
}

interface Box {
  /** So many layers have to be in float to meet the floor. */
  readonly needed: number
  readonly repairedBy?: 'correct-bias' | 'equalize'
  readonly fp32P90Ms?: number
  readonly layers?: readonly LayerSensitivity[]
  /** Each layer in float costs so much of fp32's latency. */
  readonly ratioPerLayer?: number
}

/** A box on which static int8 takes 0.3 times fp32's time, and meets the floor as {@link Box} says. */
function box({ needed, repairedBy, fp32P90Ms = 2, layers = ranking(40), ratioPerLayer = 0.001 }: Box) {
  const asked = { rankings: 0, built: [] as string[], tried: [] as string[] }
  const recipes = new Map<string, Recipe>()
  const inFloat = ({ passes }: Recipe) =>
    passes.flatMap((pass) => (pass.pass === 'quantize-static' ? pass.exclude : [])).length
  const holds = (tried: Recipe) => inFloat(tried) >= needed || tried.passes.some(({ pass }) => pass === repairedBy)
  const lab: Lab = {
    waitedMs: () => 0,
    inspect: () => Promise.resolve({ kind: 'done', inputs: [], outputs: [], runtimeVersion: '1.30.0' }),
    tuneRuntime: () => Promise.resolve({ kind: 'done', timings: [] }),
    build(built) {
      const path = `/variants/${built.label}`
      recipes.set(path, built)
      asked.built.push(built.label ?? '')
      return Promise.resolve({
        kind: 'done',
        path,
        digest: digestOf(path),
        sizeBytes: 10,
        resolved: built,
        passes: [],
      })
    },
    rankLayers() {
      asked.rankings += 1
      return Promise.resolve({ kind: 'done', layers })
    },
    measure({ path }, baseline, split): Promise<Measured> {
      const tried = recipes.get(path)
      if (baseline === null || tried === undefined) {
        return Promise.resolve({ kind: 'measured', measurement: measurement({ p90BoundMs: fp32P90Ms, split }) })
      }
      if (split === 'tuning') asked.tried.push(tried.label ?? '')
      const ratio = 0.3 + inFloat(tried) * ratioPerLayer
      const wrong = holds(tried) ? 1 : 130 - inFloat(tried)
      const figures = {
        p90BoundMs: fp32P90Ms * ratio,
        ratio: [ratio * 0.98, ratio, ratio * 1.02] as const,
        paired: { both: 930 - wrong, onlyVariant: 0, onlyBaseline: wrong, neither: 70 },
        split,
      }
      return Promise.resolve({ kind: 'measured', measurement: measurement(figures) })
    },
  }
  return { lab, asked }
}

const study = (overrides: Partial<StudyInput> = {}) => studyOf(OBJECTIVE, [recipe('int8', [STATIC])], overrides)

const run = (
  lab: Lab,
  given: {
    input?: StudyInput
    store?: ReturnType<typeof memoryStudyStore>
    now?: () => number
    onEvent?: (event: StudyEvent) => unknown
  } = {},
) =>
  runStudy(
    given.input ?? study(),
    {
      lab,
      store: given.store ?? memoryStudyStore(),
      monotonicNow: given.now ?? (() => 0),
      onEvent: (event) => void given.onEvent?.(event),
    },
    new AbortController().signal,
  )

const mixed = (base: string, ...sizes: number[]) =>
  sizes.map((size) => `${base}, ${size} ${size === 1 ? 'layer' : 'layers'} in float`)

describe('a study whose compressed variants are fast enough and not accurate enough', () => {
  it('tries repairs first, and stops where one is enough', async () => {
    const { lab, asked } = box({ needed: 9, repairedBy: 'equalize' })

    const result = await run(lab)

    expect(asked.tried).toEqual(['int8', 'int8, bias corrected', 'int8, equalized, bias corrected'])
    expect(asked.rankings).toBe(0)
    expect(result.winner?.unresolved.label).toBe('int8, equalized, bias corrected')
  })

  it('measures no repair that gives the bytes of another', async () => {
    const { lab, asked } = box({ needed: 1 })
    const nothingToEqualize: Lab = {
      ...lab,
      async build(recipe, signal) {
        const built = await lab.build(recipe, signal)
        return built.kind === 'done'
          ? { ...built, digest: digestOf(`${recipe.label?.replace(', equalized', '')}`) }
          : built
      },
    }

    await run(nothingToEqualize)

    expect(asked.tried).toEqual(['int8', 'int8, bias corrected', ...mixed('int8', 1)])
  })

  it('says how many trials there may be, for each stage anew', async () => {
    const { lab } = box({ needed: 6, layers: ranking(40) })
    const events: StudyEvent[] = []

    const result = await run(lab, { onEvent: (event) => events.push(event) })

    const planned = events.flatMap((event) => (event.kind === 'planned' ? [event.trials] : []))
    // fp32 and int8; two repairs; then 1, 2, 4 … 32, 39 and what is between two of these.
    expect(planned).toEqual([2, 4, 4 + 14])
    expect(result.trials.length).toBeLessThanOrEqual(18)
  })

  it('gives the ranking half of what is left of the budget', async () => {
    let clockMs = 0
    const limits: (number | undefined)[] = []
    const { lab } = box({ needed: 1 })
    const timed: Lab = {
      ...lab,
      measure(...args) {
        clockMs += 5000
        return lab.measure(...args)
      },
      rankLayers(recipe, maxDurationMs, signal) {
        limits.push(maxDurationMs)
        return lab.rankLayers(recipe, maxDurationMs, signal)
      },
    }

    await run(timed, { now: () => clockMs })

    // fp32, int8 and two repairs were measured.
    expect(limits).toEqual([20_000])
  })

  it('doubles the layers in float until the floor is met, then looks for the least that meet it', async () => {
    const { lab, asked } = box({ needed: 6 })

    const result = await run(lab)

    expect(asked.tried.slice(3)).toEqual(mixed('int8', 1, 2, 4, 8, 6, 5))
    expect(result.verdict).toBe('met')
    expect(result.winner?.unresolved.label).toBe('int8, 6 layers in float')
    const [pass] = result.winner?.unresolved.passes ?? []
    expect(pass).toMatchObject({ exclude: ['layer 0', 'layer 1', 'layer 2', 'layer 3', 'layer 4', 'layer 5'] })
    expect(result.trials.map(({ id }) => id)).toEqual([...result.trials.keys()])
  })

  it('leaves those in float in any case that are faster there', async () => {
    const { lab, asked } = box({ needed: 4, layers: ranking(40, 3) })
    await run(lab)
    expect(asked.tried.slice(3)).toEqual(mixed('int8', 3, 4))
  })

  it('leaves no others in float where those are enough', async () => {
    const { lab, asked } = box({ needed: 3, layers: ranking(40, 3) })
    const result = await run(lab)
    expect(asked.tried.slice(3)).toEqual(mixed('int8', 3))
    expect(result.winner?.unresolved.label).toBe('int8, 3 layers in float')
  })

  it('looks between too few and too slow', async () => {
    // 0.3 + 6 × 0.03 times fp32's 2 ms is within the budget of 1 ms, and so is 5; 8 is not.
    const { lab, asked } = box({ needed: 5, ratioPerLayer: 0.03 })

    const result = await run(lab)

    expect(asked.tried.slice(3)).toEqual(mixed('int8', 1, 2, 4, 8, 6, 5))
    expect(result.winner?.unresolved.label).toBe('int8, 5 layers in float')
  })

  it('ends where float costs more time than there is, and says so', async () => {
    const { lab, asked } = box({ needed: 30, ratioPerLayer: 0.08 })

    const result = await run(lab)

    // With 3 layers in float it takes 0.54 times fp32's 2 ms: over the budget of 1 ms.
    expect(asked.tried.slice(3)).toEqual(mixed('int8', 1, 2, 4, 3))
    expect(result.verdict).toBe('infeasible')
    expect(result.trials.at(-1)?.losses.map(({ reason }) => reason)).toEqual(['too-slow', 'accuracy-below-floor'])
    expect(result.reasons.join()).toMatch(/no number of layers .* meet the floor within the other constraints/)
  })

  it('ends with all layers that matter in float, and says so', async () => {
    const { lab, asked } = box({ needed: 30, layers: ranking(6) })

    const result = await run(lab)

    expect(asked.tried.slice(3)).toEqual(mixed('int8', 1, 2, 4, 5))
    expect(result.reasons.join()).toMatch(/no number of layers in float that was worth trying lets int8 meet the floor/)
  })

  it('says so where no layer is worth it', async () => {
    const { lab, asked } = box({ needed: 1, layers: ranking(1) })
    expect((await run(lab)).reasons.join()).toMatch(/no number of layers/)
    expect(asked.tried).toHaveLength(3)
  })

  it('tries nothing of this where the floor is met', async () => {
    const { lab, asked } = box({ needed: 0 })
    await run(lab)
    expect(asked).toMatchObject({ rankings: 0, tried: ['int8'] })
  })

  it('tries nothing of this where int8 is too slow as well', async () => {
    const { lab, asked } = box({ needed: 2, fp32P90Ms: 20 })
    await run(lab)
    expect(asked).toMatchObject({ rankings: 0, tried: ['int8'] })
  })

  it('beats an fp32 that satisfies the objective, but not where the first that does is enough', async () => {
    const faster = box({ needed: 1, fp32P90Ms: 0.9 })
    const enough = box({ needed: 1, fp32P90Ms: 0.9 })

    const result = await run(faster.lab)
    await run(enough.lab, { input: study({ objective: { ...OBJECTIVE, minimize: 'none' } }) })

    expect(result.winner?.unresolved.label).toBe('int8, 1 layer in float')
    expect(enough.asked.tried).toEqual([])
  })

  it('goes on from the most accurate of those that miss, repaired or not', async () => {
    const { lab, asked } = box({ needed: 2 })
    const better: Lab = {
      ...lab,
      async measure(...args) {
        const measured = await lab.measure(...args)
        if (!args[0].path.endsWith('int8, bias corrected') || measured.kind === 'failed') return measured
        const { measurement: found } = measured
        return {
          ...measured,
          measurement: { ...found, accuracy: { metric: 'top1', value: 0.9, low: 0.8, high: 1, count: 1000 } },
        }
      },
    }
    await run(better)
    expect(asked.tried.slice(3)).toEqual(mixed('int8, bias corrected', 1, 2))
  })

  it('goes on where it was killed, without ranking again', async () => {
    const store = memoryStudyStore()
    const first = box({ needed: 6 })
    let left = 7
    const dying: Lab = {
      ...first.lab,
      build(...args) {
        left -= 1
        return left < 0 ? Promise.reject(new Error('killed')) : first.lab.build(...args)
      },
    }
    await expect(run(dying, { store })).rejects.toThrow('killed')
    // Another run would rank otherwise: milliseconds are never the same twice.
    const again = box({ needed: 6, layers: ranking(40).reverse() })

    const result = await run(again.lab, { store })

    expect(again.asked.rankings).toBe(0)
    expect(again.asked.built).not.toContain('int8, equalized, bias corrected')
    expect(again.asked.tried).toEqual(mixed('int8', 4, 8, 6, 5))
    expect(result.winner?.unresolved.label).toBe('int8, 6 layers in float')
  })

  it('says where the budget ended', async () => {
    let clockMs = 0
    const { lab, asked } = box({ needed: 6 })
    const slow: Lab = {
      ...lab,
      measure(...args) {
        clockMs += 15_000
        return lab.measure(...args)
      },
    }

    const result = await run(slow, { now: () => clockMs })

    expect(asked.tried.slice(3)).toEqual(mixed('int8', 1))
    expect(result.reasons.join()).toMatch(/search budget of 60 s ended before enough layers of int8 were in float/)
  })

  it('keeps its result where the layers cannot be ranked, with the reason', async () => {
    const { lab } = box({ needed: 6, fp32P90Ms: 0.9 })
    const result = await run({
      ...lab,
      rankLayers: () => Promise.resolve({ kind: 'failed', reason: 'out-of-memory', message: 'killed at 200 MiB' }),
    })

    expect(result.winner?.trialId).toBe(0)
    expect(result.reasons.join()).toMatch(/layers of int8 could not be ranked: killed at 200 MiB/)
  })
})
