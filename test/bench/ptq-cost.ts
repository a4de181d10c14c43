import { join } from 'node:path'
import type { ReferenceJob } from './peers/reference-tool.ts'
import type { Scene } from './ptq-compare.ts'
import type { LatencyCase } from './ptq-latency.ts'
import { type Method, methodRecipe } from './ptq-recipes.ts'
import type { UnlabelledSubject } from './ptq-subjects.ts'
import { markdownTable } from './ptq-tables.ts'
import type { Built } from './ptq-workshop.ts'

export interface CostRow {
  readonly name: string
  readonly method: Method
  /** Before and after the reference tool. */
  readonly ours: readonly Built[]
  readonly theirs: { readonly wallMs: number; readonly peakRssBytes: number } | undefined
}

const METHODS: readonly (Method & ReferenceJob['method'])[] = ['minmax', 'percentile', 'entropy']

/** Time and memory of quantizing, and the files to measure latency with. */
export async function benchCost(
  { workshop, reference, samples, folder }: Scene,
  subject: UnlabelledSubject,
): Promise<{ readonly rows: readonly CostRow[]; readonly cases: readonly LatencyCase[] }> {
  const { name, modelPath } = subject
  const base = join(folder, name.replaceAll(' ', '-'))
  const [draw] = await workshop.draws({ calibration: subject.noise(), pool: subject.pool }, [1], samples, base)
  if (draw === undefined) throw new RangeError('no samples were drawn')
  const rows: CostRow[] = []
  const cases: LatencyCase[] = []
  for (const method of METHODS) {
    process.stderr.write(`cost of ${name}, ${method}\n`)
    const [ours, theirs] = [`${base}-${method}.onnx`, `${base}-${method}-reference.onnx`]
    const build = () => workshop.build(modelPath, methodRecipe(method, samples), draw, ours)
    const before = await build()
    const job = { model: modelPath, samples: draw.npzPath, out: theirs, method, practice: 'documented' } as const
    const [cost] = (await reference?.quantize([job])) ?? []
    const after = reference === undefined ? [] : [await build()]
    rows.push({ name, method, ours: [before, ...after], theirs: cost })
    cases.push({
      name,
      modelPath,
      draw,
      calibration: method,
      ours,
      theirs: reference === undefined ? undefined : theirs,
    })
  }
  return { rows, cases }
}

export function costTable(rows: readonly CostRow[], samples: number): string {
  const body = rows.map(({ name, method, ours, theirs }) => {
    const wallMs = ours.reduce((sum, built) => sum + built.wallMs, 0) / ours.length
    const rss = Math.max(...ours.map(({ peakRssBytes }) => peakRssBytes))
    const seconds = (ms: number) => (ms / 1000).toFixed(1)
    const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(0)
    return theirs === undefined
      ? [name, method, seconds(wallMs), '', '', mebibytes(rss), '', '']
      : [
          ...[name, method, seconds(wallMs), seconds(theirs.wallMs), (wallMs / theirs.wallMs).toFixed(2)],
          ...[mebibytes(rss), mebibytes(theirs.peakRssBytes), (rss / theirs.peakRssBytes).toFixed(3)],
        ]
  })
  const header = [
    'model',
    'calibration',
    'edgefit s',
    'reference s',
    'ratio',
    'edgefit RSS MiB',
    'reference RSS MiB',
    'ratio',
  ]
  return `Quantizing with ${samples} samples: time without start and imports, by turns; peak memory of the process.\n\n${markdownTable(header, body)}`
}
