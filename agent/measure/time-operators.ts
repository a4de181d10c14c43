import { loadModel as loadGraph } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import type { JobOf, JobValue } from './jobs.ts'
import { madeUpFeeds } from './made-up-feeds.ts'
import { type LoadedModel, loadModel } from './ort-session.ts'
import { type Quietest, quietestBlocks } from './quietest-block.ts'
import type { JobHandlers } from './serve-job.ts'
import { createTablePredictor } from './table-predictor.ts'

/** Grows the latency table by the operators of these models, and says what it makes of each model. */
export const timeOperators: JobHandlers['time-operators'] = async ({ modelPaths, compare, ...job }, report) => {
  const predictor = createTablePredictor({ ...job, folder: job.tableFolder })
  // Whoever wants it to end kills this process.
  const { signal } = new AbortController()
  const predictions: Omit<JobValue<'time-operators'>['models'][number], 'whole'>[] = []
  for (const [at, path] of modelPaths.entries()) {
    report('measuring', at / modelPaths.length)
    const [prediction] = await predictor.predict([await loadGraph(path)], signal)
    if (prediction !== undefined) {
      const { operators, missing } = prediction
      predictions.push({ ...prediction, operators: [...operators], missing: [...missing] })
    }
  }
  const whole = compare ? await timeWhole(modelPaths, job.runtime, signal) : []
  return { models: predictions.map((prediction, at) => ({ ...prediction, whole: whole[at] ?? null })) }
}

async function timeWhole(
  modelPaths: readonly string[],
  runtime: JobOf<'time-operators'>['runtime'],
  signal: AbortSignal,
): Promise<readonly Quietest[]> {
  const models: LoadedModel[] = []
  for (const path of modelPaths) models.push(await loadModel(path, runtime))
  const queries = models.map((model) => model.bind(madeUpFeeds(model.inputs, seededRandom(1))))
  return await quietestBlocks(queries, signal)
}
