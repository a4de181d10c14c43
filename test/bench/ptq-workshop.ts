import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { splitIndices, unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import type { LatencyRatio, Recipe, SplitSpec } from '@edgefit/shared/model'
import { createChildRunner } from '../../agent/measure/child.ts'
import type { Samples } from '../agent/compress/support/real-models.ts'
import { RUNTIME } from './ptq-recipes.ts'

export const LOCK_PATH = join(tmpdir(), 'edgefit-measuring.lock')
const TIMEOUT_MS = 20 * 60_000
const TUNING = 700
const EFFORT = { minDurationMs: 3000, minQueries: 64, maxQueries: 100_000, maxDurationMs: 20_000 }

/** Calibration samples on disk: for Edgefit a dataset, of which `split` draws some; for the reference tool those alone. */
export interface Draw {
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly npzPath: string
  readonly samples: number
  /** Others of the same pool: to choose by. */
  readonly tuning: Samples
}

export interface Built {
  readonly path: string
  /** From the moment the worker has loaded its code to the file on disk. Fusion is verified after that; the reference does not. */
  readonly wallMs: number
  readonly peakRssBytes: number
}

/** Draws, builds and times, all in child processes as the agent does it. */
export interface Workshop {
  /** A draw for each seed, `samples` of the rows `[0, pool)`. */
  draws(
    from: { readonly calibration: Samples; readonly pool: number },
    seeds: readonly number[],
    samples: number,
    folder: string,
  ): Promise<readonly Draw[]>
  build(modelPath: string, recipe: Recipe, draw: Draw, outPath: string): Promise<Built>
  /** Latency of the first model over that of the second, by turns. */
  ratio(path: string, otherPath: string, draw: Draw): Promise<LatencyRatio>
}

export async function createWorkshop(signal: AbortSignal): Promise<Workshop> {
  const runner = await createChildRunner({ lockPath: LOCK_PATH })
  return {
    async draws({ calibration, pool }, seeds, samples, folder) {
      await writeSamples(`${folder}.npz`, rowsOf(calibration, Uint32Array.from(Array(pool).keys())), signal)
      await unpackNpz(`${folder}.npz`, folder, signal)
      const draws: Draw[] = []
      for (const seed of seeds) {
        const tuning = Math.min(TUNING, pool - samples - 1)
        const split = { seed, calibration: samples, tuning, evaluation: 1 }
        const rows = splitIndices(pool, split)
        const npzPath = `${folder}-seed-${seed}.npz`
        await writeSamples(npzPath, rowsOf(calibration, rows.calibration), signal)
        draws.push({ datasetDir: folder, split, npzPath, samples, tuning: rowsOf(calibration, rows.tuning) })
      }
      return draws
    },
    async build(modelPath, recipe, { datasetDir, split }, outPath) {
      let startedMs = Number.NaN
      let endedMs = Number.NaN
      const onProgress = ({ stage }: { readonly stage: string }) => {
        if (stage === 'loading') startedMs = performance.now()
        if (stage === 'verifying') endedMs = performance.now()
      }
      const built = await runner.run<'build'>(
        { kind: 'build', sourcePath: modelPath, datasetDir, split, recipe, outPath, calibrationThreads: 1 },
        { timeoutMs: TIMEOUT_MS, onProgress },
        signal,
      )
      if (built.kind === 'failed') throw new Error(`${modelPath}: ${built.message}`)
      return { path: outPath, wallMs: endedMs - startedMs, peakRssBytes: built.peakRssBytes }
    },
    async ratio(path, otherPath, { datasetDir, split }) {
      const measured = await runner.run<'measure-against'>(
        {
          kind: 'measure-against',
          variant: { path, runtime: RUNTIME },
          baseline: { path: otherPath, runtime: RUNTIME },
          samples: { datasetDir, split, which: 'tuning' },
          effort: EFFORT,
        },
        { timeoutMs: TIMEOUT_MS },
        signal,
      )
      if (measured.kind === 'failed') throw new Error(`${path}: ${measured.message}`)
      return measured.value.latencyRatio
    },
  }
}

function rowsOf({ input, sampleDims, values, labels }: Samples, rows: Uint32Array): Samples {
  const size = sampleDims.reduce((a, b) => a * b, 1)
  const chosen = { input, sampleDims, labels: Uint8Array.from(rows, (row) => labels[row] ?? 0) }
  const rowAt = (index: number) => (rows[Math.floor(index / size)] ?? 0) * size + (index % size)
  const length = rows.length * size
  return values instanceof Float32Array
    ? { ...chosen, values: Float32Array.from({ length }, (_, index) => values[rowAt(index)] ?? 0) }
    : { ...chosen, values: BigInt64Array.from({ length }, (_, index) => values[rowAt(index)] ?? 0n) }
}

async function writeSamples(path: string, { input, sampleDims, values, labels }: Samples, signal: AbortSignal) {
  const dtype = values instanceof Float32Array ? 'float32' : 'int64'
  await writeNpz(path, [{ name: input, dtype, shape: [labels.length, ...sampleDims], data: values }], {}, signal)
}
