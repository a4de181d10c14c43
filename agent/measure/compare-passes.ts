import { isEdgefitError } from '@edgefit/shared'
import type { PassEffect } from '@edgefit/shared/model'
import { describeIo, encodeModel, type Model, loadModel as readGraph } from '@edgefit/shared/onnx'
import { median, sortedCopy } from '@edgefit/shared/stats'
import { buildVariant, type FloatOutputs, floatOutputs, noiseMeter } from '../compress/index.ts'
import type { JobOf } from './jobs.ts'
import { collectLatencies, queryStream, warmUp } from './latency.ts'
import { type LoadedModel, loadModelBytes, openSession } from './ort-session.ts'
import { openSamples, type Samples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

const WARM_UP_LIMIT_MS = 1000

/**
 * What each pass of a recipe does to the model's outputs and to its latency. Short, and one model after the other: enough
 * to see which pass brought what, while the variant itself is measured in full elsewhere.
 */
export const comparePasses: JobHandlers['compare-passes'] = async (job, report) => {
  report('loading')
  const source = await readGraph(job.sourcePath)
  const { inputs } = describeIo(source)
  const { datasetDir, split, recipe } = job
  const calibration = await openSamples({ datasetDir, split, which: 'calibration' }, inputs)
  const tuning = await openSamples({ datasetDir, split, which: 'tuning' }, inputs)
  try {
    const count = Math.min(job.samples, tuning.count)
    const references = await loaded(source, recipe, (model) => outputsOf(model, tuning, count))
    const passes: PassEffect[] = []
    await buildVariant({
      source,
      recipe,
      calibration: { count: calibration.count, batch: ([index = 0]) => calibration.feeds(index, 1) },
      openSession,
      threads: job.calibrationThreads,
      async onPass(model, index) {
        report('evaluating', index / recipe.passes.length)
        passes.push(await effectOf(model, job, tuning, references))
      },
      // Whoever wants it to end kills this process.
      signal: new AbortController().signal,
    })
    return { passes }
  } finally {
    await calibration.close()
    await tuning.close()
  }
}

async function effectOf(
  model: Model,
  { recipe, effort }: JobOf<'compare-passes'>,
  samples: Samples,
  references: readonly FloatOutputs[],
): Promise<PassEffect> {
  try {
    return await loaded(model, recipe, async (session) => {
      const meter = noiseMeter(false)
      const outputs = await outputsOf(session, samples, references.length)
      for (const [sample, reference] of references.entries()) meter.add(reference, outputs[sample] ?? new Map())
      const stream = await queryStream(session, samples)
      await warmUp(stream, WARM_UP_LIMIT_MS)
      const latenciesMs = await collectLatencies(stream, effort, () => undefined)
      const comparable = references.some((reference) => reference.size > 0)
      return { sqnrDb: comparable ? meter.noise().sqnrDb : null, latencyP50Ms: median(sortedCopy(latenciesMs)) }
    })
  } catch (error) {
    // Only the last of the passes has to give a model that runs.
    if (isEdgefitError(error, 'MODEL_UNSUPPORTED')) return { sqnrDb: null, latencyP50Ms: null }
    throw error
  }
}

async function loaded<Value>(
  model: Model,
  { runtime }: JobOf<'compare-passes'>['recipe'],
  use: (session: LoadedModel) => Promise<Value>,
): Promise<Value> {
  const session = await loadModelBytes(encodeModel(model), runtime)
  try {
    return await use(session)
  } finally {
    await session.release()
  }
}

async function outputsOf(model: LoadedModel, samples: Samples, count: number): Promise<readonly FloatOutputs[]> {
  const outputs: FloatOutputs[] = []
  for (let sample = 0; sample < count; sample += 1) {
    outputs.push(floatOutputs(await model.bind(await samples.feeds(sample, 1)).run()))
  }
  return outputs
}
