import { digestFile } from '@edgefit/shared/artifact'
import { loadModel as loadGraph } from '@edgefit/shared/onnx'
import { accuracyFigures } from './accuracy-figures.ts'
import { batchFor } from './batching.ts'
import type { JobOf, Loadable } from './jobs.ts'
import { loadModel } from './ort-session.ts'
import { readReference, writeReference } from './reference.ts'
import { runtimeVersion } from './runtime-version.ts'
import { openSamples } from './samples.ts'
import { scorerFor } from './scoring.ts'
import type { JobHandlers } from './serve-job.ts'
import { evaluate, type Verdicts } from './verdicts.ts'

type AccuracyJob = JobOf<'measure-accuracy'>
type Report = Parameters<JobHandlers['measure-accuracy']>[1]

/** How good a model's answers are, and how they compare with fp32's on the same samples. */
export const measureAccuracy: JobHandlers['measure-accuracy'] = async (job, report) => {
  const baseline = await baselineVerdicts(job, report)
  const variant = job.baseline === null ? baseline : await verdictsOf(job, job.variant, report)
  const labels = job.task.kind === 'binary-score' ? await binaryLabels(job, variant.count) : null
  return accuracyFigures({ task: job.task, labels, variant, baseline })
}

async function baselineVerdicts(job: AccuracyJob, report: Report): Promise<Verdicts> {
  const model = job.baseline ?? job.variant
  const key = JSON.stringify([await digestFile(model.path), runtimeVersion(), job.samples, job.task, job.maxSamples])
  const known = await readReference(job.referencePath, key)
  if (known !== undefined) return known
  const verdicts = await verdictsOf(job, model, report)
  await writeReference(job.referencePath, key, verdicts)
  return verdicts
}

async function verdictsOf(
  { task, samples: ref, maxSamples }: AccuracyJob,
  { path, runtime }: Loadable,
  report: Report,
) {
  report('loading')
  const score = await scorerFor(task)
  const model = await loadModel(path, runtime)
  const samples = await openSamples(ref, model.inputs)
  try {
    const count = Math.min(samples.count, maxSamples ?? samples.count)
    const batch = await batchFor(await loadGraph(path), model, samples)
    return await evaluate(model, samples, { task, score, batch, count }, (fraction) => report('evaluating', fraction))
  } finally {
    await samples.close()
    await model.release()
  }
}

async function binaryLabels({ samples: ref }: AccuracyJob, count: number): Promise<Float64Array | null> {
  const samples = await openSamples(ref, [])
  try {
    return samples.hasLabels ? await samples.labels(0, count) : null
  } finally {
    await samples.close()
  }
}
