import { ratioInterval } from '@edgefit/shared/stats'
import { blockStream, measureByTurns } from './by-turns.ts'
import { queryStream } from './latency.ts'
import { loadModel } from './ort-session.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

/** How much faster the variant is than fp32. */
export const measureAgainst: JobHandlers['measure-against'] = async (job, report) => {
  report('loading')
  const variantModel = await loadModel(job.variant.path, job.variant.runtime)
  const baselineModel = await loadModel(job.baseline.path, job.baseline.runtime)
  const samples = await openSamples(job.samples, baselineModel.inputs)
  report('warming-up')
  const variant = await blockStream(await queryStream(variantModel, samples))
  const baseline = await blockStream(await queryStream(baselineModel, samples))
  await samples.close()

  const { variantMs, baselineMs } = await measureByTurns(variant, baseline, job.effort, (fraction) =>
    report('measuring', fraction),
  )
  const interval = ratioInterval(variantMs, baselineMs)
  if (interval === undefined) throw new RangeError(`${variantMs.length} rounds give no interval`)
  const { ratio, low, high } = interval
  return { latencyRatio: { ratio, low, high } }
}
