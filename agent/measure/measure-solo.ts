import { stat } from 'node:fs/promises'
import { encodeHistogram, histogramRecorder, latencyNoise } from '@edgefit/shared/stats'
import { systemFiles } from '../profile/system-files.ts'
import { readThermalState } from '../profile/thermal.ts'
import { collectLatencies, queryStream, summarize, warmUp } from './latency.ts'
import { loadModel } from './ort-session.ts'
import { runtimeVersion } from './runtime-version.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'
import { wasThrottled } from './throttling.ts'

const WARM_UP_LIMIT_MS = 10_000

/** Latency of one model that has the box to itself. The peak memory of this process is the model's. */
export const measureSolo: JobHandlers['measure-solo'] = async ({ variant, samples: ref, effort }, report) => {
  report('loading')
  const model = await loadModel(variant.path, variant.runtime)
  const { size: sizeBytes } = await stat(variant.path)
  const samples = await openSamples(ref, model.inputs)
  const stream = await queryStream(model, samples)
  report('warming-up')
  await warmUp(stream, WARM_UP_LIMIT_MS)
  const files = systemFiles()
  const before = readThermalState(files)
  const latenciesMs = await collectLatencies(stream, effort, (fraction) => report('measuring', fraction))
  const after = readThermalState(files)
  await samples.close()

  const { spreadRatio, driftRatio } = latencyNoise(latenciesMs)
  const histogram = histogramRecorder()
  for (const latencyMs of latenciesMs) histogram.record(latencyMs * 1e6)
  return {
    latencyMs: summarize(latenciesMs),
    noise: spreadRatio,
    histogram: encodeHistogram(histogram.snapshot()),
    throttled: wasThrottled(before, after, driftRatio),
    temperatureC: { before: before.temperatureC, after: after.temperatureC },
    loadMs: model.loadMs,
    sizeBytes,
    runtimeVersion: runtimeVersion(),
  }
}
