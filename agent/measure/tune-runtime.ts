import { quantile, sortedCopy } from '@edgefit/shared/stats'
import { collectLatencies, queryStream, warmUp } from './latency.ts'
import { loadModel } from './ort-session.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

const ROUNDS = 3
const WARM_UP_LIMIT_MS = 1000

/**
 * Times the same model under several runtime settings, in rounds, each round beginning one candidate later, so that a
 * drift of the box falls on all. One session at a time: many at once would not fit small boxes, and the waiting
 * threads of one would disturb another.
 */
export const tuneRuntime: JobHandlers['tune-runtime'] = async ({ modelPath, candidates, ...job }, report) => {
  const timings = candidates.map((runtime) => ({ runtime, latenciesMs: [] as number[] }))
  const effort = {
    minDurationMs: job.effort.minDurationMs / ROUNDS,
    minQueries: Math.ceil(job.effort.minQueries / ROUNDS),
    maxQueries: Math.ceil(job.effort.maxQueries / ROUNDS),
    maxDurationMs: job.effort.maxDurationMs / ROUNDS,
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const turns = [...timings.slice(round % timings.length), ...timings.slice(0, round % timings.length)]
    for (const [turn, { runtime, latenciesMs }] of turns.entries()) {
      const model = await loadModel(modelPath, runtime)
      const samples = await openSamples(job.samples, model.inputs)
      const stream = await queryStream(model, samples)
      await samples.close()
      await warmUp(stream, WARM_UP_LIMIT_MS)
      latenciesMs.push(...(await collectLatencies(stream, effort, () => undefined)))
      await model.release()
      report('measuring', (round * timings.length + turn + 1) / (ROUNDS * timings.length))
    }
  }
  return {
    candidates: timings.map(({ runtime, latenciesMs }) => {
      const sorted = sortedCopy(latenciesMs)
      return { runtime, p50Ms: quantile(sorted, 0.5), p90Ms: quantile(sorted, 0.9), count: sorted.length }
    }),
  }
}
