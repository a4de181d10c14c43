import { statSync } from 'node:fs'
import type { LatencyRatio } from '@edgefit/shared/model'
import { markdownTable } from './ptq-tables.ts'
import type { Draw, Workshop } from './ptq-workshop.ts'

/** Files of one model and one calibration to time against each other. */
export interface LatencyCase {
  readonly name: string
  readonly modelPath: string
  readonly draw: Draw
  readonly calibration: string
  readonly ours: string
  readonly theirs: string | undefined
}

interface LatencyRow extends LatencyCase {
  readonly againstFp32: LatencyRatio
  readonly againstReference: LatencyRatio | undefined
}

export async function benchLatency(workshop: Workshop, cases: readonly LatencyCase[]): Promise<readonly LatencyRow[]> {
  const rows: LatencyRow[] = []
  for (const one of cases) {
    process.stderr.write(`latency of ${one.name}, ${one.calibration}\n`)
    rows.push({
      ...one,
      againstFp32: await workshop.ratio(one.ours, one.modelPath, one.draw),
      againstReference: one.theirs === undefined ? undefined : await workshop.ratio(one.ours, one.theirs, one.draw),
    })
  }
  return rows
}

export function latencyTable(rows: readonly LatencyRow[]): string {
  const text = ({ ratio, low, high }: LatencyRatio) => `${ratio.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`
  return `Latency by turns with its 95 % interval, and size.\n\n${markdownTable(
    ['model', 'calibration', 'edgefit / fp32', 'edgefit / reference', 'size / fp32', 'size / reference'],
    rows.map(({ name, modelPath, calibration, ours, theirs, againstFp32, againstReference }) => [
      name,
      calibration,
      text(againstFp32),
      againstReference === undefined ? '' : text(againstReference),
      sizeRatio(ours, modelPath),
      theirs === undefined ? '' : sizeRatio(ours, theirs),
    ]),
  )}`
}

function sizeRatio(path: string, otherPath: string): string {
  return (statSync(path).size / statSync(otherPath).size).toFixed(2)
}
