import { EdgefitError } from '@edgefit/shared'
import type { Objective, Recipe } from '@edgefit/shared/model'
import { describe, expect, it } from 'vitest'
import type { Lab, Measured } from '../../../agent/search/lab.ts'
import { runStudy } from '../../../agent/search/study.ts'
import { memoryStudyStore } from '../../../agent/search/study-store.ts'
import type { StudyEvent, StudyInput } from '../../../agent/search/study-types.ts'
import { measurement, RUNTIME, recipe } from '../../support/measurements.ts'
import { digestOf, studyOf } from './support.ts'

const GOOD = { both: 920, onlyVariant: 9, onlyBaseline: 10, neither: 61 }
const BAD = { both: 800, onlyVariant: 0, onlyBaseline: 130, neither: 70 }
const OBJECTIVE: Objective = { latencyP90Ms: 1, accuracy: { kind: 'relative', value: 0.99 }, minimize: 'latency' }

interface Behaviour {
  readonly ratio: number
  readonly paired?: typeof GOOD
  readonly onEvaluation?: typeof GOOD
  readonly fails?: 'crashed' | 'timeout'
}

/** A box where each recipe behaves as told; counts what it was asked to do. */
function scriptedLab(behaviours: Readonly<Record<string, Behaviour>>, fp32P90Ms = 2) {
  const asked = { builds: [] as string[], measures: [] as string[] }
  const nameOf = (path: string) => path.replace('/variants/', '')
  const lab: Lab = {
    waitedMs: () => 0,
    inspect: () => Promise.resolve({ kind: 'done', inputs: [], outputs: [], runtimeVersion: '1.30.0' }),
    tuneRuntime: (_path, candidates) =>
      Promise.resolve({
        kind: 'done',
        timings: candidates.map((runtime, index) => ({ runtime, p90Ms: 1 - index * 0.2 })),
      }),
    build(built) {
      const label = (built.label ?? '').replace(', own threads', '')
      asked.builds.push(label)
      if (behaviours[label]?.fails === 'crashed')
        return Promise.resolve({ kind: 'failed', reason: 'crashed', message: 'SIGSEGV' })
      return Promise.resolve({
        kind: 'done',
        path: `/variants/${label}`,
        digest: digestOf(label),
        sizeBytes: 10,
        resolved: built,
        passes: [],
      })
    },
    rankLayers: () => Promise.resolve({ kind: 'failed', reason: 'crashed', message: 'SIGSEGV' }),
    measure(variant, baseline, split): Promise<Measured> {
      const name = nameOf(variant.path)
      asked.measures.push(`${name} ${split}`)
      if (baseline === null)
        return Promise.resolve({ kind: 'measured', measurement: measurement({ p90BoundMs: fp32P90Ms, split }) })
      const { ratio, paired = GOOD, onEvaluation = paired, fails } = behaviours[name] ?? { ratio: 1 }
      if (fails) return Promise.resolve({ kind: 'failed', reason: fails, message: 'took too long' })
      const figures = {
        p90BoundMs: fp32P90Ms * ratio,
        ratio: [ratio * 0.98, ratio, ratio * 1.02] as const,
        paired: split === 'tuning' ? paired : onEvaluation,
        split,
      }
      return Promise.resolve({ kind: 'measured', measurement: measurement(figures) })
    },
  }
  return { lab, asked }
}

const pass = { pass: 'fold-batch-norm' } as const
const recipes = (...labels: string[]): Recipe[] =>
  labels.map((label) =>
    recipe(label, [
      pass,
      { pass: 'quantize-dynamic', weights: { type: 'int8', perChannel: true, reducedRange: false }, exclude: [label] },
    ]),
  )

const study = (overrides: Partial<StudyInput> = {}) => studyOf(OBJECTIVE, recipes('a', 'b', 'c'), overrides)

const run = (input: StudyInput, lab: Lab, store = memoryStudyStore(), now = () => 0) => {
  const events: StudyEvent[] = []
  const result = runStudy(
    input,
    { lab, store, monotonicNow: now, onEvent: (event) => void events.push(event) },
    new AbortController().signal,
  )
  return { result, events, store }
}

describe('runStudy', () => {
  it('chooses on the tuning split and measures winner and fp32 once on the evaluation split', async () => {
    const { lab, asked } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.2, paired: BAD } })

    const result = await run(study(), lab).result

    expect(result.verdict).toBe('met')
    expect(result.winner?.digest).toBe(digestOf('b'))
    expect(result.winner?.measurement.split).toBe('evaluation')
    expect(asked.measures.filter((name) => name.endsWith('evaluation'))).toEqual([
      '/source.onnx evaluation',
      'b evaluation',
    ])
    expect(result.trials.map(({ id }) => id)).toEqual([0, 1, 2, 3])
    expect(result.trials[3]?.losses[0]?.reason).toBe('accuracy-below-floor')
  })

  it('takes a recipe that does not suit the model for a failed trial', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.3 }, b: { ratio: 0.4 }, c: { ratio: 0.5 } })
    const build: Lab['build'] = (built, signal) =>
      built.label === 'a'
        ? Promise.reject(new EdgefitError('no channel can go', { code: 'RECIPE_INVALID' }))
        : lab.build(built, signal)

    const result = await run(study(), { ...lab, build }).result

    expect(result.winner?.digest).toBe(digestOf('b'))
    expect(result.trials[1]?.outcome).toEqual({ kind: 'failed', reason: 'unsupported', message: 'no channel can go' })
  })

  it('builds the winner of an earlier search from what its recipe was resolved to', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.5 }, c: { ratio: 0.5 } })
    const resolved = recipe('a, resolved')
    let builds = 0
    const build: Lab['build'] = async (built, signal) => {
      const done = await lab.build(built, signal)
      if (done.kind === 'failed' || !built.label?.startsWith('a')) return done
      // Measured anew, other channels would stay: each build of the unresolved recipe gives other bytes.
      builds += 1
      const bytes = built.label === 'a, resolved' ? 'first bytes' : builds === 1 ? 'first bytes' : `bytes ${builds}`
      return { ...done, path: '/variants/a', digest: digestOf(bytes), resolved }
    }
    const store = memoryStudyStore()
    await run(study(), { ...lab, build }, store).result

    const again = await run(study(), { ...lab, build }, store).result

    expect(again.winner).toMatchObject({ digest: digestOf('first bytes'), recipe: resolved })
  })

  it('keeps failed trials with their reason and goes on', async () => {
    const { lab } = scriptedLab({
      a: { ratio: 1, fails: 'crashed' },
      b: { ratio: 1, fails: 'timeout' },
      c: { ratio: 0.4 },
    })

    const result = await run(study(), lab).result

    expect(result.winner?.digest).toBe(digestOf('c'))
    expect(result.trials[1]?.outcome).toMatchObject({ kind: 'failed', reason: 'crashed' })
    expect(result.trials[2]?.outcome).toMatchObject({ kind: 'failed', reason: 'timeout' })
  })

  it('falls back to fp32 where the winner does not hold on the evaluation split', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4, onEvaluation: BAD }, b: { ratio: 1.2 }, c: { ratio: 1.2 } }, 0.9)

    const result = await run(study(), lab).result

    expect(result.verdict).toBe('met')
    expect(result.winner?.trialId).toBe(0)
    expect(result.reasons[0]).toMatch(/a did not hold on the evaluation split/)
    expect(result.trials[1]?.losses[0]?.reason).toBe('accuracy-below-floor')
  })

  it('is infeasible where neither the winner holds nor fp32 is fast enough', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4, onEvaluation: BAD }, b: { ratio: 1.2 }, c: { ratio: 1.2 } })

    const result = await run(study(), lab).result

    expect(result).toMatchObject({ verdict: 'infeasible', winner: null })
  })

  it.each(['crashed', 'timeout', 'out-of-memory'] as const)(
    'gives the next best its place where the winner %s on the evaluation split',
    async (reason) => {
      const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.6 } })
      const failing: Lab = {
        ...lab,
        measure: (variant, baseline, split, signal) =>
          variant.path === '/variants/b' && split === 'evaluation'
            ? Promise.resolve({ kind: 'failed', reason, message: 'it went wrong' })
            : lab.measure(variant, baseline, split, signal),
      }

      const result = await run(study(), failing).result

      expect(result.verdict).toBe('met')
      expect(result.winner?.digest).toBe(digestOf('a'))
      expect(result.trials[2]?.losses).toEqual([
        { reason: 'failed-on-evaluation', detail: `its measurement failed, ${reason}: it went wrong` },
      ])
      expect(result.reasons[0]).toMatch(/^b lost on the evaluation split: .*it went wrong/)
      expect(result.trials[1]?.losses).toEqual([])
    },
  )

  it('falls back to fp32, and else is infeasible, where no variant can be measured on the evaluation split', async () => {
    const failing = (lab: Lab): Lab => ({
      ...lab,
      measure: (variant, baseline, split, signal) =>
        baseline !== null && split === 'evaluation'
          ? Promise.resolve({ kind: 'failed', reason: 'crashed', message: 'SIGSEGV' })
          : lab.measure(variant, baseline, split, signal),
    })
    const all = { a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.2 } }

    const fast = await run(study(), failing(scriptedLab(all, 0.9).lab)).result
    const slow = await run(study(), failing(scriptedLab(all).lab)).result

    expect(fast).toMatchObject({ verdict: 'met', winner: { trialId: 0 } })
    expect(slow).toMatchObject({ verdict: 'infeasible', winner: null })
    expect(slow.trials.slice(1).map(({ losses }) => losses[0]?.reason)).toEqual(Array(3).fill('failed-on-evaluation'))
  })

  it('gives the next best its place where the winner cannot be built again, or gives other bytes', async () => {
    const builds = new Map<string, number>()
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.2 } })
    const forgetful: Lab = {
      ...lab,
      async build(built, signal) {
        const label = built.label ?? ''
        builds.set(label, (builds.get(label) ?? 0) + 1)
        const done = await lab.build(built, signal)
        if (builds.get(label) === 1 || done.kind === 'failed') return done
        if (label === 'c') return { kind: 'failed', reason: 'crashed', message: 'SIGSEGV' }
        return label === 'b' ? { ...done, digest: digestOf('other') } : done
      },
    }

    const result = await run(study(), forgetful).result

    expect(result.winner?.digest).toBe(digestOf('a'))
    expect(result.reasons.join()).toMatch(/c lost .*could not be built again.*b lost .*gave other bytes/)
  })

  it('ends with the disk full, also on the evaluation split', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.5 }, c: { ratio: 0.6 } })
    const full: Lab = {
      ...lab,
      measure: (variant, baseline, split, signal) =>
        baseline !== null && split === 'evaluation'
          ? Promise.resolve({ kind: 'failed', reason: 'no-space', message: 'ENOSPC' })
          : lab.measure(variant, baseline, split, signal),
    }
    await expect(run(study(), full).result).rejects.toMatchObject({ code: 'DISK_FULL' })
  })

  it('does not repeat trials that were finished before', async () => {
    const first = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.5 } })
    const { store, result } = run(study(), first.lab)
    await result
    const again = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.5 } })

    const resumed = await run(study(), again.lab, store).result

    expect(resumed.winner?.digest).toBe(digestOf('b'))
    expect(again.asked.measures).toEqual(['/source.onnx evaluation', 'b evaluation'])
  })

  it('starts no trial after its budget and says so', async () => {
    let clockMs = 0
    const { lab, asked } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.2 } })
    const slow: Lab = {
      ...lab,
      measure(...args) {
        clockMs += 40_000
        return lab.measure(...args)
      },
    }

    const result = await run(study(), slow, memoryStudyStore(), () => clockMs).result

    expect(asked.builds).toEqual(['a', 'a'])
    expect(result.reasons.join()).toMatch(/search budget of 60 s ended after 1 of 3/)
  })

  it('does not count the time that other agents of the host took', async () => {
    let clockMs = 0
    let waitedMs = 0
    const { lab, asked } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.2 } })
    const shared: Lab = {
      ...lab,
      waitedMs: () => waitedMs,
      measure(...args) {
        clockMs += 40_000
        waitedMs += 35_000
        return lab.measure(...args)
      },
    }

    await run(study(), shared, memoryStudyStore(), () => clockMs).result

    expect(asked.builds.slice(0, 3)).toEqual(['a', 'b', 'c'])
  })

  it('measures the winner again where its latency contradicts the tuning split', async () => {
    const { lab, asked } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 1.2 }, c: { ratio: 1.2 } })
    let disturbed = true
    const noisy: Lab = {
      ...lab,
      async measure(...args) {
        const measured = await lab.measure(...args)
        if (args[1] === null || args[2] === 'tuning' || !disturbed || measured.kind === 'failed') return measured
        disturbed = false
        const latencyMs = { ...measured.measurement.latencyMs, p90Bound: 9 }
        return { kind: 'measured', measurement: { ...measured.measurement, latencyMs } }
      },
    }

    const result = await run(study(), noisy).result

    expect(result.winner?.digest).toBe(digestOf('a'))
    expect(asked.measures.filter((name) => name === 'a evaluation')).toHaveLength(2)
  })

  it('stops at the first feasible one where nothing is minimized', async () => {
    const { lab, asked } = scriptedLab({ a: { ratio: 0.4 } }, 0.9)

    const result = await run(study({ objective: { ...OBJECTIVE, minimize: 'none' } }), lab).result

    expect(result.winner?.trialId).toBe(0)
    expect(asked.builds).toEqual([])
  })

  it('gives the leader runtime settings of its own', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.5 } })
    const two = { ...RUNTIME, intraOpThreads: 2 }

    const result = await run(
      study({ runtimeCandidates: [RUNTIME, two], candidates: () => recipes('a', 'b', 'c') }),
      lab,
    ).result

    expect(result.trials.at(-1)).toMatchObject({ id: 4, recipe: { label: 'b, own threads', runtime: two } })
  })

  it('fails with the reason where not even fp32 can be measured', async () => {
    const { lab } = scriptedLab({})
    const broken: Lab = {
      ...lab,
      measure: () => Promise.resolve({ kind: 'failed', reason: 'out-of-memory', message: 'killed at 200 MiB' }),
    }

    await expect(run(study(), broken).result).rejects.toMatchObject({
      code: 'TRIAL_FAILED',
      message: expect.stringMatching(/killed at 200 MiB/),
    })
  })

  it('reports each trial as it ends, with the best so far', async () => {
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.5 } })
    const { result, events } = run(study(), lab)
    await result

    const best = events.flatMap((event) => (event.kind === 'trial' ? [event.best?.label] : []))
    expect(best).toEqual([undefined, 'a', 'b', 'b'])
  })

  it('measures fp32 again where it failed the last time', async () => {
    const store = memoryStudyStore()
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.5 }, c: { ratio: 0.6 } })
    const busy: Lab = {
      ...lab,
      measure: () => Promise.resolve({ kind: 'failed', reason: 'timeout', message: 'the host was busy' }),
    }
    await expect(run(study(), busy, store).result).rejects.toThrow(/the host was busy/)

    expect((await run(study(), lab, store).result).verdict).toBe('met')
  })

  it('ends where the disk is full, and judges the recipe once there is room', async () => {
    const store = memoryStudyStore()
    const { lab } = scriptedLab({ a: { ratio: 0.4 }, b: { ratio: 0.3 }, c: { ratio: 0.6 } })
    const full: Lab = {
      ...lab,
      build: (built, signal) =>
        built.label === 'b'
          ? Promise.resolve({ kind: 'failed', reason: 'no-space', message: 'ENOSPC' })
          : lab.build(built, signal),
    }
    await expect(run(study(), full, store).result).rejects.toMatchObject({ code: 'DISK_FULL' })

    expect((await run(study(), lab, store).result).winner?.digest).toBe(digestOf('b'))
  })
})
