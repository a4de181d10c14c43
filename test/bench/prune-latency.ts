import { unpackNpz } from '@edgefit/shared/dataset'
import type { LatencyRatio, Pass } from '@edgefit/shared/model'
import { loadModel } from '@edgefit/shared/onnx'
import { pruneChannels } from '../../agent/compress/prune/prune-channels.ts'
import { pruning } from '../agent/compress/prune/support.ts'
import type { BenchModel } from './models.ts'
import { type Dataset, type PruneShop, percent, RUNTIME, saved, TIMEOUT_MS } from './prune-shop.ts'
import { markdownTable } from './ptq-tables.ts'

const SAVED_SHARES = [0.1, 0.2, 0.35]
/** Of every layer, from the gentlest on: the first that is as fast is compared. */
const UNIFORM_RATIOS = [1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2]

interface LatencyRow {
  readonly model: string
  readonly how: string
  /** Shares of the latency: asked for, predicted, measured. Null where there is no such thing. */
  readonly asked: number | null
  readonly predicted: number | null
  readonly latency: LatencyRatio | null
  readonly top1: number
  readonly buildMs: number | null
}

interface Bench {
  readonly model: BenchModel
  readonly shop: PruneShop
  readonly data: Dataset
}

/** Pruned to a latency, predicted and measured, against pruning all layers alike to the same measured latency. */
export async function latencyRows(model: BenchModel, shop: PruneShop): Promise<readonly LatencyRow[]> {
  const datasetDir = shop.path('data')
  await model.writeData(`${datasetDir}.npz`)
  await unpackNpz(`${datasetDir}.npz`, datasetDir, shop.signal)
  const bench = { model, shop, data: { datasetDir, split: model.split } }
  const row = { model: model.name, asked: null, predicted: null, latency: null, buildMs: null }
  const rows: LatencyRow[] = [{ ...row, how: 'whole', top1: await top1(bench, model.modelPath) }]
  const latencyFolder = shop.path('latency')
  for (const asked of SAVED_SHARES) {
    const outPath = shop.path('pruned.onnx')
    const { predicted, buildMs } = await pruneToShare(bench, asked, outPath, latencyFolder)
    const latency = await shop.ratio(outPath, model.modelPath, bench.data)
    rows.push({ ...row, how: 'by latency', asked, predicted, latency, buildMs, top1: await top1(bench, outPath) })
    const uniform = await uniformAsFast(bench, latency.ratio)
    if (uniform !== undefined) rows.push({ ...row, ...uniform })
  }
  return rows
}

async function pruneToShare(
  { model, shop, data }: Bench,
  savedShare: number,
  outPath: string,
  folder: string,
): Promise<{ readonly predicted: number; readonly buildMs: number }> {
  const prune: Pass = {
    pass: 'prune-channels',
    target: { by: 'saved-share', savedShare, steps: 10, samples: 64 },
    importance: 'l2',
    exclude: [],
  }
  const startedMs = performance.now()
  const built = await shop.runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: model.modelPath,
      ...data,
      recipe: { schemaVersion: 1, passes: [prune], runtime: RUNTIME },
      outPath,
      calibrationThreads: 1,
      latencyTable: { folder, hardwareClass: 'this box' },
    },
    { timeoutMs: TIMEOUT_MS },
    shop.signal,
  )
  if (built.kind === 'failed') throw new Error(`${model.name}: ${built.message}`)
  const [note = ''] = built.value.passes[0]?.notes ?? []
  const [, after, before] = /take ([\d.e+-]+) ms after and ([\d.e+-]+) ms before/.exec(note) ?? []
  return { predicted: 1 - Number(after) / Number(before), buildMs: performance.now() - startedMs }
}

async function uniformAsFast(bench: Bench, wantedRatio: number) {
  const { model, shop, data } = bench
  const whole = await loadModel(model.modelPath)
  for (const ratio of UNIFORM_RATIOS) {
    const path = await shop.save(pruneChannels(whole, pruning({ ratio, alignTo: 8 })).result.model)
    const latency = await shop.ratio(path, model.modelPath, data)
    if (latency.ratio <= wantedRatio) {
      return { how: `${percent(ratio)} of every layer, aligned to 8`, latency, top1: await top1(bench, path) }
    }
  }
  return undefined
}

async function top1({ model, shop, data }: Bench, path: string): Promise<number> {
  const measured = await shop.runner.run<'measure-accuracy'>(
    {
      kind: 'measure-accuracy',
      variant: { path, runtime: RUNTIME },
      baseline: null,
      samples: { ...data, which: 'evaluation' },
      task: { kind: 'classification' },
      maxSamples: null,
      referencePath: shop.path('reference'),
    },
    { timeoutMs: TIMEOUT_MS },
    shop.signal,
  )
  if (measured.kind === 'failed') throw new Error(`${model.name}: ${measured.message}`)
  return measured.value.accuracy.value
}

export function latencyTable(rows: readonly LatencyRow[]): string {
  const share = (value: number | null): string => (value === null ? '' : percent(value))
  return markdownTable(
    ['model', 'pruned', 'saved: asked', 'predicted', 'measured (95 %)', 'top-1', 'built in'],
    rows.map(({ model, how, asked, predicted, latency, top1: accuracy, buildMs }) => [
      model,
      how,
      share(asked),
      share(predicted),
      latency === null ? '' : saved(latency),
      percent(accuracy),
      buildMs === null ? '' : `${(buildMs / 1000).toFixed(0)} s`,
    ]),
  )
}
