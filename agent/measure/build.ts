import { dirname } from 'node:path'
import { digestBytes, writeFileAtomic } from '@edgefit/shared/artifact'
import { recipeDigest } from '@edgefit/shared/model'
import { describeIo, loadModel } from '@edgefit/shared/onnx'
import { buildVariant, verifyFusion } from '../compress/index.ts'
import { openSession, optimizedGraphIn } from './ort-session.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

/** Turns a source model and a recipe into a variant on disk. */
export const build: JobHandlers['build'] = async (job, report) => {
  report('loading')
  const source = await loadModel(job.sourcePath)
  const { datasetDir, split } = job
  const samples = await openSamples({ datasetDir, split, which: 'calibration' }, describeIo(source).inputs)
  const durationsMs: number[] = []
  let startedMs = performance.now()
  try {
    const variant = await buildVariant({
      source,
      recipe: job.recipe,
      calibration: { count: samples.count, batch: ([index = 0]) => samples.feeds(index, 1) },
      openSession,
      threads: job.calibrationThreads,
      onProgress: ({ index, count, calibration }) =>
        report('building', (index + (calibration ? calibration.done / calibration.total : 0)) / count),
      onPass: () => {
        const nowMs = performance.now()
        durationsMs.push(nowMs - startedMs)
        startedMs = nowMs
      },
      // Whoever wants it to end kills this process.
      signal: new AbortController().signal,
    })
    await writeFileAtomic(job.outPath, variant.bytes)
    const findings = await verifyFusion(variant.model, variant.bytes, optimizedGraphIn(dirname(job.outPath)))
    return {
      digest: digestBytes(variant.bytes),
      sizeBytes: variant.bytes.byteLength,
      resolvedRecipe: variant.resolved,
      resolvedRecipeDigest: recipeDigest(variant.resolved),
      passes: variant.reports.map((passReport, at) => ({
        ...passReport,
        durationMs: durationsMs[at] ?? 0,
        // What the runtime makes of the file is the doing of all passes: told with the last.
        notes: [...passReport.notes, ...(at === variant.reports.length - 1 ? findings : [])],
      })),
    }
  } finally {
    await samples.close()
  }
}
