import type { LatencyRatio } from '@edgefit/shared/model'
import { bindDimensions, type Model, modelCost, symbolicDimensions } from '@edgefit/shared/onnx'
import { pruneChannels } from '../../agent/compress/prune/prune-channels.ts'
import { pruning } from '../agent/compress/prune/support.ts'
import { noiseFor, type PruneShop, type PruneSubject, percent, saved } from './prune-shop.ts'
import { markdownTable } from './ptq-tables.ts'

const RATIOS = [0.25, 0.5]
/** 16 is the block of the runtime's float kernels on x64. */
const MULTIPLES = [1, 16]

interface RatioRow {
  readonly model: string
  readonly ratio: number
  readonly alignTo: number
  /** Of the whole model, 0 to 1. */
  readonly macsRemoved: number
  readonly bytesRemoved: number
  readonly latency: LatencyRatio
}

/** Channels removed from every layer alike: MACs on paper against latency by turns with the whole model. */
export async function ratioRows(subject: PruneSubject, shop: PruneShop): Promise<readonly RatioRow[]> {
  const whole = await subject.load()
  const baseline = await shop.save(whole)
  const data = await noiseFor(whole, shop)
  const before = costOf(whole)
  const rows: RatioRow[] = []
  for (const alignTo of MULTIPLES) {
    for (const ratio of RATIOS) {
      const { model } = pruneChannels(whole, pruning({ ratio, alignTo })).result
      const latency = await shop.ratio(await shop.save(model), baseline, data)
      const after = costOf(model)
      rows.push({
        model: subject.name,
        ratio,
        alignTo,
        macsRemoved: 1 - after.macs / before.macs,
        bytesRemoved: 1 - after.weightBytes / before.weightBytes,
        latency,
      })
    }
  }
  return rows
}

function costOf(model: Model) {
  return modelCost(bindDimensions(model, Object.fromEntries([...symbolicDimensions(model)].map((name) => [name, 1]))))
}

export function ratioTable(rows: readonly RatioRow[]): string {
  return markdownTable(
    ['model', 'pruned', 'aligned to', 'MACs removed', 'weights removed', 'time removed (95 %)'],
    rows.map(({ model, ratio, alignTo, macsRemoved, bytesRemoved, latency }) => [
      model,
      percent(ratio),
      String(alignTo),
      percent(macsRemoved),
      percent(bytesRemoved),
      saved(latency),
    ]),
  )
}
