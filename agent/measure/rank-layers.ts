import { EdgefitError } from '@edgefit/shared'
import type { LayerSensitivity } from '@edgefit/shared/model'
import { describeIo, encodeModel, loadModel, type Model } from '@edgefit/shared/onnx'
import { median, ratioInterval, sortedCopy } from '@edgefit/shared/stats'
import {
  buildVariant,
  type CalibrationSource,
  calibratedQuantizer,
  isLayerPass,
  type LayerQuantizer,
  layerNoise,
  matteringLayers,
  rankLayers as ranked,
} from '../compress/index.ts'
import { type BlockStream, blockStream, measureByTurns } from './by-turns.ts'
import { calibrationSource } from './calibration-source.ts'
import type { JobOf } from './jobs.ts'
import { queryStream } from './latency.ts'
import { loadModelBytes, openSession } from './ort-session.ts'
import { openSamples, type Samples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

type RankJob = JobOf<'rank-layers'>

/**
 * What each layer does to the outputs when it alone is quantized, and how many milliseconds it would cost to leave it in
 * float instead.
 *
 * Milliseconds are those of whole models by turns: all layers quantized, and all but one. On a network of 41 layers and
 * 0.28 ms two such measurements of a layer differed by 0.5 % of the whole. The runtime's own profile of single nodes was
 * no substitute: it differed by up to 5 %, and counted each node's 1 to 5 µs of bookkeeping as its work.
 *
 * Where `maxDurationMs` is spent, the layers that matter least have no milliseconds.
 */
export const rankLayers: JobHandlers['rank-layers'] = async (job, report) => {
  report('loading')
  const isSpent = deadline(job)
  const source = await loadModel(job.sourcePath)
  const { inputs } = describeIo(source)
  const { datasetDir, split } = job
  const calibration = await openSamples({ datasetDir, split, which: 'calibration' }, inputs)
  const tuning = await openSamples({ datasetDir, split, which: 'tuning' }, inputs)
  // Whoever wants it to end kills this process.
  const { signal } = new AbortController()
  try {
    const quantizer = await quantizerOf(job, source, calibrationSource(calibration), signal)
    if (quantizer.layers.length < 2) return { layers: [] }
    const noise = await layerNoise({
      quantizer,
      classes: job.task.kind === 'classification',
      samples: Math.min(job.samples, tuning.count),
      source: calibrationSource(tuning),
      openSession,
      threads: job.recipe.runtime.intraOpThreads,
      onProgress: (done, total) => report('evaluating', done / total),
      signal,
    })
    const mattering = matteringLayers(noise).map(({ layer }) => layer)
    const lost = await lostMs(job, quantizer, mattering, tuning, isSpent, (fraction) => report('measuring', fraction))
    return { layers: ranked(noise.map((layer) => ({ ...layer, lostMs: lost.get(layer.layer) ?? null }))) }
  } finally {
    await calibration.close()
    await tuning.close()
  }
}

async function quantizerOf(
  { recipe, calibrationThreads: threads }: RankJob,
  source: Model,
  calibration: CalibrationSource,
  signal: AbortSignal,
): Promise<LayerQuantizer> {
  const at = recipe.passes.findLastIndex(isLayerPass)
  const pass = recipe.passes[at]
  if (pass === undefined || !isLayerPass(pass)) {
    throw new EdgefitError('the recipe has no pass that quantizes layer by layer, so there are none to rank', {
      code: 'RECIPE_INVALID',
    })
  }
  const common = { openSession, threads, signal }
  const before = { ...recipe, passes: recipe.passes.slice(0, at) }
  const { model } = await buildVariant({ ...common, source, recipe: before, calibration })
  return calibratedQuantizer(model, pass, { ...common, source: calibration })
}

async function lostMs(
  { recipe, effort }: RankJob,
  quantizer: LayerQuantizer,
  layers: readonly string[],
  samples: Samples,
  isSpent: () => boolean,
  report: (fraction: number) => void,
): Promise<ReadonlyMap<string, LayerSensitivity['lostMs']>> {
  const found = new Map<string, LayerSensitivity['lostMs']>()
  const timed = async <Value>(model: Model, use: (stream: BlockStream) => Promise<Value>): Promise<Value> => {
    const session = await loadModelBytes(encodeModel(model), recipe.runtime)
    try {
      return await use(await blockStream(await queryStream(session, samples)))
    } finally {
      await session.release()
    }
  }
  if (isSpent()) return found
  await timed(await quantizer.leavingInFloat([]), async (whole) => {
    for (const [index, layer] of layers.entries()) {
      if (isSpent()) return
      const withOneInFloat = await quantizer.leavingInFloat([layer])
      const { variantMs, baselineMs } = await timed(withOneInFloat, (stream) =>
        measureByTurns(stream, whole, effort, () => undefined),
      )
      const interval = ratioInterval(variantMs, baselineMs)
      if (interval === undefined) throw new RangeError(`${variantMs.length} rounds give no interval`)
      const wholeMs = median(sortedCopy(baselineMs))
      const [value, low, high] = [interval.ratio, interval.low, interval.high].map((ratio) => (ratio - 1) * wholeMs)
      found.set(layer, { value: value ?? 0, low: low ?? 0, high: high ?? 0 })
      report((index + 1) / layers.length)
    }
  })
  return found
}

function deadline({ maxDurationMs = Number.POSITIVE_INFINITY }: RankJob): () => boolean {
  const startedMs = performance.now()
  return () => performance.now() - startedMs >= maxDurationMs
}
