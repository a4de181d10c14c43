import { isEdgefitError } from '@edgefit/shared'
import type { PassReport, RuntimeSettings } from '@edgefit/shared/model'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { median, sortedCopy } from '@edgefit/shared/stats'
import { type FloatOutputs, floatOutputs, noiseMeter } from '../compress/index.ts'
import type { JobOf } from './jobs.ts'
import { collectLatencies, queryStream, warmUp } from './latency.ts'
import { type LoadedModel, loadModelBytes } from './ort-session.ts'
import type { Samples } from './samples.ts'

const WARM_UP_LIMIT_MS = 1000

type Effect = Pick<PassReport, 'sqnrDb' | 'latencyP50Ms'>

/**
 * Says what has become of a model's outputs and of its latency. Short, and one model after the other: enough to see which
 * pass brought what, while the variant itself is measured in full elsewhere.
 */
export async function passComparison(
  source: Model,
  samples: Samples,
  runtime: RuntimeSettings,
  { samples: wanted, effort }: NonNullable<JobOf<'build'>['compare']>,
): Promise<{ effectOn(model: Model): Promise<Effect> }> {
  const count = Math.min(wanted, samples.count)
  const references = await loaded(source, runtime, (session) => outputsOf(session, samples, count))
  const comparable = references.some((reference) => reference.size > 0)
  return {
    async effectOn(model) {
      try {
        return await loaded(model, runtime, async (session) => {
          const meter = noiseMeter(false)
          const outputs = await outputsOf(session, samples, count)
          for (const [sample, reference] of references.entries()) meter.add(reference, outputs[sample] ?? new Map())
          const stream = await queryStream(session, samples)
          await warmUp(stream, WARM_UP_LIMIT_MS)
          const latenciesMs = await collectLatencies(stream, effort, () => undefined)
          return { sqnrDb: comparable ? meter.noise().sqnrDb : null, latencyP50Ms: median(sortedCopy(latenciesMs)) }
        })
      } catch (error) {
        // Only the last of the passes has to give a model that runs.
        if (isEdgefitError(error, 'MODEL_UNSUPPORTED')) return { sqnrDb: null, latencyP50Ms: null }
        throw error
      }
    },
  }
}

async function loaded<Value>(
  model: Model,
  runtime: RuntimeSettings,
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
