import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import type { LatencyRatio } from '@edgefit/shared/model'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { pruneWeights } from '../../agent/compress/prune/prune-weights.ts'
import { noiseFor, type PruneShop, type PruneSubject, percent, saved } from './prune-shop.ts'
import { markdownTable } from './ptq-tables.ts'

const SPARSITIES = [0.5, 0.8, 0.9]

interface SparsityRow {
  readonly model: string
  readonly sparsity: number
  readonly fileBytes: number
  readonly gzipBytes: number
  readonly brotliBytes: number
  /** Null for the whole model. */
  readonly latency: LatencyRatio | null
}

/** Single weights set to zero: bytes over the air, and the time that they do not save. */
export async function sparsityRows(subject: PruneSubject, shop: PruneShop): Promise<readonly SparsityRow[]> {
  const whole = await subject.load()
  const baseline = await shop.save(whole)
  const data = await noiseFor(whole, shop)
  const rows: SparsityRow[] = [{ model: subject.name, sparsity: 0, ...packed(whole), latency: null }]
  for (const sparsity of SPARSITIES) {
    const target = { by: 'sparsity', sparsity, scope: 'global' } as const
    const { model } = pruneWeights(whole, { pass: 'prune-weights', target, exclude: [] })
    const latency = await shop.ratio(await shop.save(model), baseline, data)
    rows.push({ model: subject.name, sparsity, ...packed(model), latency })
  }
  return rows
}

function packed(model: Model) {
  const bytes = encodeModel(model)
  return {
    fileBytes: bytes.byteLength,
    gzipBytes: gzipSync(bytes).byteLength,
    // The highest level takes minutes for what is worth a few percent.
    brotliBytes: brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }).byteLength,
  }
}

export function sparsityTable(rows: readonly SparsityRow[]): string {
  return markdownTable(
    ['model', 'zeros', 'file', 'gzip', 'brotli', 'time removed (95 %)'],
    rows.map(({ model, sparsity, fileBytes, gzipBytes, brotliBytes, latency }) => [
      model,
      percent(sparsity),
      `${(fileBytes / 1e6).toFixed(2)} MB`,
      `${(gzipBytes / 1e6).toFixed(2)} MB`,
      `${(brotliBytes / 1e6).toFixed(2)} MB`,
      latency === null ? '' : saved(latency),
    ]),
  )
}
