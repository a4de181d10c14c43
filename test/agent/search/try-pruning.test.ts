import type { Recipe } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import type { Lab, Measured } from '../../../agent/search/lab.ts'
import { pruningCandidates } from '../../../agent/search/pruning-candidates.ts'
import { runStudy } from '../../../agent/search/study.ts'
import { memoryStudyStore } from '../../../agent/search/study-store.ts'
import { measurement, recipe } from '../../support/measurements.ts'
import { candidateInput, digestOf, studyOf } from './support.ts'

const PRUNED = pruningCandidates(candidateInput({ Conv: 3 }, { calibrationSamples: 50, features: [] }))

const labels = (candidates: typeof PRUNED) => candidates.map(({ recipe: { label } }) => label)

interface Box {
  readonly fp32P90Ms: number
  /** Of samples that fp32 has right, which int8 has wrong. */
  readonly int8Wrong?: number
  /** Pruned variants lose accuracy from this share on. */
  readonly accurateBelow?: number
}

/** A box on which int8 saves a tenth, and pruning what it says it does. */
function box({ fp32P90Ms, int8Wrong = 1, accurateBelow = 1 }: Box) {
  const recipes = new Map<string, Recipe>()
  const tried: string[] = []
  const lab: Lab = {
    waitedMs: () => 0,
    inspect: () => Promise.resolve({ kind: 'done', inputs: [], outputs: [], runtimeVersion: '1.30.0' }),
    tuneRuntime: () => Promise.resolve({ kind: 'done', timings: [] }),
    rankLayers: () => Promise.resolve({ kind: 'done', layers: [] }),
    build(built) {
      const path = `/variants/${built.label}`
      recipes.set(path, built)
      return Promise.resolve({ kind: 'done', path, digest: digestOf(path), sizeBytes: 10, resolved: built, passes: [] })
    },
    measure({ path }, baseline, split): Promise<Measured> {
      const label = recipes.get(path)?.label
      if (baseline === null || label === undefined) {
        return Promise.resolve({ kind: 'measured', measurement: measurement({ p90BoundMs: fp32P90Ms, split }) })
      }
      if (split === 'tuning') tried.push(label)
      const share = Number(/save (\d+) %/.exec(label)?.[1] ?? 0) / 100
      const ratio = (1 - share) * (label.includes('int8') ? 0.9 : 1)
      const wrong = share >= accurateBelow ? 200 : label === 'int8' ? int8Wrong : 1
      const figures = {
        p90BoundMs: fp32P90Ms * ratio,
        ratio: [ratio * 0.98, ratio, ratio * 1.02] as const,
        paired: { both: 930 - wrong, onlyVariant: 0, onlyBaseline: wrong, neither: 70 },
        split,
      }
      return Promise.resolve({ kind: 'measured', measurement: measurement(figures) })
    },
  }
  return { lab, tried }
}

async function run(given: Box, budgetMs = 60_000) {
  const { lab, tried } = box(given)
  const planned: number[] = []
  let now = 0
  const result = await runStudy(
    studyOf(
      { latencyP90Ms: 1, accuracy: { kind: 'relative', value: 0.99 }, minimize: 'latency' },
      [recipe('int8', [{ pass: 'fold-batch-norm' }])],
      { pruning: () => PRUNED, budgetMs },
    ),
    {
      lab,
      store: memoryStudyStore(),
      monotonicNow: () => (now += 1),
      onEvent: (event) => void (event.kind === 'planned' && planned.push(event.trials)),
    },
    new AbortController().signal,
  )
  return { result, tried, planned }
}

describe('pruning in a study', () => {
  it('is not tried where a variant holds', async () => {
    const { tried } = await run({ fp32P90Ms: 1.05 })
    expect(tried).toEqual(['int8'])
  })

  it('goes on, gentlest first, until one holds', async () => {
    const { result, tried } = await run({ fp32P90Ms: 1.2 })
    expect(tried).toEqual(['int8', ...labels(PRUNED.slice(0, 2))])
    expect(result.winner?.unresolved.label).toMatch(/^pruned to save 10 %, static int8/)
  })

  it('is tried for the sake of fp32 too, where int8 is not accurate', async () => {
    const { result } = await run({ fp32P90Ms: 1.1, int8Wrong: 300 })
    expect(result.winner?.unresolved.label).toMatch(/^pruned to save 10 %/)
  })

  it('does not help where it costs too much accuracy', async () => {
    const { result, tried } = await run({ fp32P90Ms: 1.5, accurateBelow: 0.2 })
    expect(tried).toEqual(['int8', ...labels(PRUNED.slice(4))])
    expect(result.verdict).toBe('infeasible')
  })

  it('is not tried by less than what the fastest lacks', async () => {
    // int8 takes 1.17 ms of 1: a tenth less is too little, a fifth is not.
    const { tried } = await run({ fp32P90Ms: 1.3 })
    expect(tried.slice(1)).toEqual(labels(PRUNED.slice(2, 4)))
  })

  it('says how many trials there may be now', async () => {
    const { planned } = await run({ fp32P90Ms: 1.3 })
    expect(planned).toEqual([2, 2 + 4])
  })

  it('is not tried for a goal out of reach', async () => {
    const { result, tried } = await run({ fp32P90Ms: 2 })
    expect(tried).toEqual(['int8'])
    expect(result.verdict).toBe('infeasible')
  })

  it('ends with the search budget', async () => {
    const { result } = await run({ fp32P90Ms: 1.3 }, 8)
    expect(result.reasons.at(-1)).toBe('the search budget of 0.008 s ended before all pruned variants were tried')
  })
})
