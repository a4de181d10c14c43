import { describe, expect, it } from 'vitest'
import { collectLatencies, summarize, warmUp } from '../../../agent/measure/latency.ts'

/** A model whose latencies are known. */
function streamOf(latencyMs: (run: number) => number) {
  let runs = 0
  return {
    next: () => {
      runs += 1
      return Promise.resolve(latencyMs(runs))
    },
    runs: () => runs,
  }
}

describe('the warm-up', () => {
  it('ends when latencies are steady', async () => {
    const stream = streamOf((run) => (run <= 5 ? 9 : 5))

    await warmUp(stream, 10_000)

    expect(stream.runs()).toBe(20)
  })

  it('ends in time where they never are', async () => {
    const stream = streamOf((run) => 10 + run)

    await warmUp(stream, 200)

    expect(stream.runs()).toBe(13)
  })

  it('runs a slow model three times', async () => {
    const stream = streamOf(() => 5000)

    await warmUp(stream, 1000)

    expect(stream.runs()).toBe(3)
  })
})

describe('a sample of latencies', () => {
  const effort = { minDurationMs: 1000, minQueries: 100, maxQueries: 400, maxDurationMs: 3000 }

  it.each([
    ['the queries asked for, when the time is up before', 20, 100],
    ['enough to fill the time', 4, 250],
    ['no more than the most', 0.001, 400],
    ['the queries asked for, however slow', 1000, 100],
  ])('has %s', async (_, latencyMs, count) => {
    const latencies = await collectLatencies(
      streamOf(() => latencyMs),
      effort,
      () => undefined,
    )

    expect(latencies).toHaveLength(count)
  })

  it('stops at the longest time once it has its queries', async () => {
    const patient = { ...effort, minQueries: 64, minDurationMs: 60_000 }

    expect(
      await collectLatencies(
        streamOf(() => 40),
        patient,
        () => undefined,
      ),
    ).toHaveLength(75)
  })

  it('is summed up by observed values and the early-stopping bound', () => {
    const latencies = Array.from({ length: 100 }, (_, index) => 100 - index)

    // Of 100 the two slowest may be set aside (MLPerf: t = 3), so the bound is the third largest.
    expect(summarize(latencies)).toEqual({ p50: 50, p90: 90, p99: 99, p90Bound: 98, count: 100 })
  })
})
