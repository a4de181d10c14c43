import { dirname } from 'node:path'
import { digestBytes, digestFile, writeFileAtomic } from '@edgefit/shared/artifact'
import { needsGradients, type PassReport, recipeDigest, trainsWeights } from '@edgefit/shared/model'
import { describeIo, loadModel, type Model } from '@edgefit/shared/onnx'
import { type BuildProgress, buildVariant, trainingShare, trainingWords, verifyFusion } from '../compress/index.ts'
import { calibrationSource } from './calibration-source.ts'
import { openGradientSource } from './gradient-source.ts'
import type { JobOf } from './jobs.ts'
import { openSession, optimizedGraphIn } from './ort-session.ts'
import { passComparison } from './pass-comparison.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'
import { createTablePredictor } from './table-predictor.ts'
import { openTrainingPort } from './training-port.ts'

/** Turns a source model and a recipe into a variant on disk. */
export const build: JobHandlers['build'] = async (job, report) => {
  report('loading')
  const source = await loadModel(job.sourcePath)
  const student = job.studentPath === undefined ? undefined : await loadStudent(job.studentPath)
  const { datasetDir, split, recipe, latencyTable, compare } = job
  const samples = await openSamples({ datasetDir, split, which: 'calibration' }, describeIo(source).inputs)
  const training = await trainingFor(job, source)
  const gradients = await gradientsFor(job, source)
  const tuning = compare && (await openSamples({ datasetDir, split, which: 'tuning' }, describeIo(source).inputs))
  const comparison = tuning && compare && (await passComparison(source, tuning, recipe.runtime, compare))
  const effects: Pick<PassReport, 'durationMs' | 'sqnrDb' | 'latencyP50Ms'>[] = []
  let startedMs = performance.now()
  try {
    const variant = await buildVariant({
      source,
      ...(student && { student }),
      recipe,
      calibration: calibrationSource(samples),
      openSession,
      ...(latencyTable && { predictor: createTablePredictor({ ...latencyTable, runtime: recipe.runtime }) }),
      ...(training && { training: training.port }),
      ...(gradients && { gradients: gradients.source }),
      threads: job.calibrationThreads,
      onProgress: (progress) =>
        report('building', (progress.index + shareOfPass(progress)) / progress.count, detailOf(progress)),
      async onPass(model) {
        const durationMs = performance.now() - startedMs
        const effect = await comparison?.effectOn(model)
        effects.push({ ...NOT_COMPARED, ...effect, durationMs })
        startedMs = performance.now()
      },
      // Whoever wants it to end kills this process.
      signal: new AbortController().signal,
    })
    await writeFileAtomic(job.outPath, variant.bytes)
    report('verifying')
    const findings = await verifyFusion(variant.model, variant.bytes, optimizedGraphIn(dirname(job.outPath)))
    return {
      digest: digestBytes(variant.bytes),
      sizeBytes: variant.bytes.byteLength,
      resolvedRecipe: variant.resolved,
      resolvedRecipeDigest: recipeDigest(variant.resolved),
      passes: variant.reports.map((passReport, at) => ({
        ...passReport,
        ...(effects[at] ?? NOT_COMPARED),
        // What the runtime makes of the file is the doing of all passes: told with the last.
        notes: [...passReport.notes, ...(at === variant.reports.length - 1 ? findings : [])],
      })),
    }
  } finally {
    await training?.close()
    await gradients?.close()
    await tuning?.close()
    await samples.close()
  }
}

const NOT_COMPARED = { durationMs: 0, sqnrDb: null, latencyP50Ms: null }

function shareOfPass({ calibration, training }: BuildProgress): number {
  if (training !== undefined) return trainingShare(training)
  return calibration === undefined ? 0 : calibration.done / calibration.total
}

async function loadStudent(path: string) {
  return { model: await loadModel(path), digest: await digestFile(path, new AbortController().signal) }
}

function detailOf({ pass, training }: BuildProgress): string | undefined {
  return training && `${pass}: ${trainingWords(training)}`
}

/** Opened only for recipes that train. */
async function trainingFor(
  { datasetDir, split, task, recipe, outPath, teacherDir, calibrationThreads }: JobOf<'build'>,
  source: Model,
) {
  if (task === undefined || !trainsWeights(recipe.passes)) return undefined
  return await openTrainingPort({
    source,
    datasetDir,
    split,
    task,
    scratchPath: `${outPath}.training`,
    teacherDir,
    threads: calibrationThreads,
  })
}

/** Opened only for recipes that look at gradients. */
async function gradientsFor({ datasetDir, split, task, recipe }: JobOf<'build'>, source: Model) {
  if (task === undefined || !needsGradients(recipe.passes)) return undefined
  return await openGradientSource({ source, datasetDir, split, task })
}
