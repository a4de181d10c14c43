import { join } from 'node:path'
import { qualityOf, verdictsOf } from './ptq-accuracy.ts'
import type { Scene } from './ptq-compare.ts'
import { repairRecipes } from './ptq-recipes.ts'
import type { Subject } from './ptq-subjects.ts'
import { markdownTable } from './ptq-tables.ts'

interface RepairRow {
  readonly recipe: string
  /** Points of top-1 against fp32, by seed. */
  readonly points: readonly number[]
  readonly sqnrDb: number
}

/** What one scale for all weights of a layer loses, and what equalization and bias correction win back. */
export async function benchRepair(scene: Scene, subject: Subject): Promise<readonly RepairRow[]> {
  const { workshop, seeds, samples, folder } = scene
  const base = join(folder, `${subject.name.replaceAll(' ', '-')}-repair`)
  const draws = await workshop.draws(subject, seeds, samples, base)
  const baseline = await verdictsOf(subject.modelPath, subject)
  const rows: RepairRow[] = []
  for (const [recipe, passes] of repairRecipes(samples)) {
    process.stderr.write(`${subject.name}: ${recipe}\n`)
    const points: number[] = []
    let sqnrDb = 0
    for (const draw of draws) {
      const { path } = await workshop.build(subject.modelPath, passes, draw, `${base}.onnx`)
      const quality = qualityOf(await verdictsOf(path, subject), baseline)
      points.push(quality.points)
      sqnrDb += quality.sqnrDb / draws.length
    }
    rows.push({ recipe, points, sqnrDb })
  }
  return rows
}

export function repairTable(name: string, rows: readonly RepairRow[]): string {
  return `${name}, static int8, minmax: points of top-1 against fp32.\n\n${markdownTable(
    ['recipe', 'mean', 'least', 'SQNR dB'],
    rows.map(({ recipe, points, sqnrDb }) => [
      recipe,
      (points.reduce((sum, one) => sum + one, 0) / points.length).toFixed(2),
      Math.min(...points).toFixed(2),
      sqnrDb.toFixed(1),
    ]),
  )}`
}
