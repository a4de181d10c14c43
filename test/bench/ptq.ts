/** Static int8 against fp32: latency by turns, accuracy on the same samples, cost of calibration. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { unpackNpz } from '@edgefit/shared/dataset'
import type { Measurement, Recipe, RuntimeSettings } from '@edgefit/shared/model'
import { createChildRunner } from '../../agent/measure/child.ts'
import { measureVariant } from '../../agent/measure/measure.ts'
import type { JobRunner } from '../../agent/measure/runner.ts'
import { type BenchModel, benchModels } from './models.ts'

const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const EFFORT = { minDurationMs: 4000, minQueries: 200, maxQueries: 100_000, maxDurationMs: 60_000 }
const TIMEOUT_MS = 20 * 60_000

type Calibration = Extract<Recipe['passes'][number], { pass: 'quantize-static' }>['calibration']

interface Row {
  readonly model: string
  readonly calibration: string
  readonly fp32: Measurement
  readonly int8: Measurement
  readonly quantizeMs: number
  readonly quantizeRssBytes: number
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, only: { type: 'string' } },
  })
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-ptq-'))
  try {
    const runner = await createChildRunner({ lockPath: join(tmpdir(), 'edgefit-measuring.lock') })
    const rows: Row[] = []
    for (const model of benchModels()) {
      if (values.only !== undefined && !model.name.includes(values.only)) continue
      process.stderr.write(`${model.name}\n`)
      rows.push(...(await benchModel(model, runner, join(folder, model.name.replaceAll(' ', '-')))))
    }
    console.log(values.json ? JSON.stringify(rows, null, 2) : table(rows))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function benchModel(model: BenchModel, runner: JobRunner, folder: string): Promise<Row[]> {
  const signal = AbortSignal.timeout(60 * 60_000)
  const npz = `${folder}.npz`
  await model.writeData(npz)
  await unpackNpz(npz, folder, signal)
  const { modelPath, split } = model
  const measure = (path: string, baseline: string | null) =>
    measureVariant(
      runner,
      {
        variant: { path, runtime: RUNTIME },
        baseline: baseline === null ? null : { path: baseline, runtime: RUNTIME },
        samples: { datasetDir: folder, split, which: 'evaluation' },
        effort: EFFORT,
        task: { kind: 'classification' },
        maxSamples: null,
        referencePath: `${folder}.ref`,
      },
      { timeoutMs: TIMEOUT_MS, now: Date.now },
      signal,
    ).then(measured)
  const fp32 = await measure(modelPath, null)
  const samples = split.calibration
  const methods: Calibration[] = [
    { method: 'minmax', samples },
    { method: 'percentile', percentile: 99.99, samples },
  ]
  const rows: Row[] = []
  for (const calibration of methods) {
    const outPath = `${folder}-${calibration.method}.onnx`
    const startedMs = performance.now()
    const built = await runner.run<'build'>(
      {
        kind: 'build',
        sourcePath: modelPath,
        datasetDir: folder,
        split,
        recipe: staticInt8(calibration),
        outPath,
        calibrationThreads: 1,
      },
      { timeoutMs: TIMEOUT_MS },
      signal,
    )
    if (built.kind === 'failed') throw new Error(`${model.name}: ${built.message}`)
    const quantizeMs = performance.now() - startedMs
    const int8 = await measure(outPath, modelPath)
    const method = calibration.method === 'percentile' ? `percentile ${calibration.percentile}` : 'minmax'
    rows.push({
      model: model.name,
      calibration: method,
      fp32,
      int8: withoutClaim(model, int8),
      quantizeMs,
      quantizeRssBytes: built.peakRssBytes,
    })
  }
  return rows
}

function staticInt8(calibration: Calibration): Recipe {
  return {
    schemaVersion: 1,
    passes: [
      { pass: 'fold-batch-norm' },
      {
        pass: 'quantize-static',
        activations: { type: process.arch === 'arm64' ? 'int8' : 'uint8' },
        weights: { type: 'int8', perChannel: true, reducedRange: false },
        calibration,
        exclude: [],
      },
    ],
    runtime: RUNTIME,
  }
}

function measured(result: Awaited<ReturnType<typeof measureVariant>>): Measurement {
  if (result.kind === 'failed') throw new Error(`${result.reason}: ${result.message}`)
  return result.measurement
}

/** On pictures of noise an accuracy means nothing. */
function withoutClaim(model: BenchModel, measurement: Measurement): Measurement {
  return model.labelled ? measurement : { ...measurement, accuracy: null }
}

function table(rows: readonly Row[]): string {
  const header = [
    'model',
    'calibration',
    'fp32 p50 ms',
    'int8 p50 ms',
    'int8/fp32 (95 %)',
    'fp32 top-1',
    'int8 top-1',
    'points',
    'SQNR dB',
    'size',
    'quantize s',
    'quantize RSS MiB',
    'run RSS MiB',
  ]
  const body = rows.map(({ model, calibration, fp32, int8, quantizeMs, quantizeRssBytes }) => {
    const ratio = int8.againstBaseline?.latencyRatio
    const points = int8.accuracy && fp32.accuracy ? (int8.accuracy.value - fp32.accuracy.value) * 100 : undefined
    return [
      model,
      calibration,
      fp32.latencyMs.p50.toFixed(3),
      int8.latencyMs.p50.toFixed(3),
      ratio ? `${ratio.ratio.toFixed(3)} (${ratio.low.toFixed(3)}-${ratio.high.toFixed(3)})` : '',
      points === undefined ? '-' : ((fp32.accuracy?.value ?? 0) * 100).toFixed(2),
      points === undefined ? '-' : ((int8.accuracy?.value ?? 0) * 100).toFixed(2),
      points === undefined ? '-' : points.toFixed(2),
      int8.againstBaseline?.sqnrDb?.toFixed(1) ?? '-',
      `${(int8.sizeBytes / fp32.sizeBytes).toFixed(2)}x`,
      (quantizeMs / 1000).toFixed(1),
      (quantizeRssBytes / 2 ** 20).toFixed(0),
      `${(int8.peakRssBytes / 2 ** 20).toFixed(0)} / ${(fp32.peakRssBytes / 2 ** 20).toFixed(0)}`,
    ]
  })
  return [header, header.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
