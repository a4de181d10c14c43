import { join } from 'node:path'
import { quantile, sortedCopy } from '@edgefit/shared/stats'
import type { ReferenceJob, ReferenceTool } from './peers/reference-tool.ts'
import { type Quality, qualityOf, top1, verdictsOf } from './ptq-accuracy.ts'
import type { LatencyCase } from './ptq-latency.ts'
import { type Method, methodRecipe } from './ptq-recipes.ts'
import type { Subject } from './ptq-subjects.ts'
import { markdownTable } from './ptq-tables.ts'
import type { Draw, Workshop } from './ptq-workshop.ts'

export interface Scene {
  readonly workshop: Workshop
  readonly reference: ReferenceTool | undefined
  readonly seeds: readonly number[]
  readonly samples: number
  readonly folder: string
}

/** One file that came out of a quantization. */
interface Outcome extends Quality {
  readonly path: string
  readonly wallMs: number
  /** On samples that are neither for calibration nor for evaluation. */
  readonly tuning: Quality
}

/** By seed. */
type Outcomes = readonly Outcome[]

export interface Compared {
  readonly name: string
  readonly modelPath: string
  readonly draw: Draw
  readonly fp32Top1: number
  readonly ours: ReadonlyMap<Method, Outcomes>
  readonly theirs: ReadonlyMap<ReferenceJob['method'] | 'defaults', Outcomes>
}

const OURS: readonly Method[] = ['minmax', 'percentile', 'entropy', 'mse']
const THEIRS: readonly (Method & ReferenceJob['method'])[] = ['minmax', 'percentile', 'entropy']

const BEST = 'best on tuning'

/** Both sides quantize with the samples of a seed before the next one's turn comes. */
export async function benchAccuracy(scene: Scene, subject: Subject): Promise<Compared> {
  const { workshop, reference, seeds, samples } = scene
  const { name, modelPath, isTransformer } = subject
  const folder = join(scene.folder, name.replaceAll(' ', '-'))
  const draws = await workshop.draws(subject, seeds, samples, folder)
  const baseline = await verdictsOf(modelPath, subject)
  const ours = new Map<Method, Outcome[]>()
  const theirs = new Map<ReferenceJob['method'] | 'defaults', Outcome[]>()
  for (const draw of draws) {
    const { seed } = draw.split
    const tuningRows = { evaluation: draw.tuning, from: 0, to: draw.tuning.labels.length }
    const tuningBaseline = await verdictsOf(modelPath, tuningRows)
    const judge = async (path: string, wallMs: number): Promise<Outcome> => ({
      path,
      wallMs,
      ...qualityOf(await verdictsOf(path, subject), baseline),
      tuning: qualityOf(await verdictsOf(path, tuningRows), tuningBaseline),
    })
    for (const method of isTransformer ? [...OURS, 'dynamic' as const] : OURS) {
      const built = await workshop.build(
        modelPath,
        methodRecipe(method, samples),
        draw,
        `${folder}-${method}-${seed}.onnx`,
      )
      push(ours, method, await judge(built.path, built.wallMs))
    }
    if (reference !== undefined) {
      const jobs = referenceJobs(subject, draw, `${folder}-reference`)
      for (const job of jobs) {
        const { method, practice, out } = job
        // A process each, as each of ours has: what the first job of a process sets up, later ones would have for nothing.
        const [cost] = await reference.quantize([job])
        push(theirs, practice === 'defaults' ? 'defaults' : method, await judge(out, cost?.wallMs ?? Number.NaN))
      }
    }
    process.stderr.write(`${name}, seed ${seed}: done\n`)
  }
  return { name, modelPath, draw: first(draws), fp32Top1: top1(baseline), ours, theirs }
}

function referenceJobs({ modelPath, isTransformer }: Subject, draw: Draw, out: string): readonly ReferenceJob[] {
  const job = (method: ReferenceJob['method'], practice: ReferenceJob['practice']): ReferenceJob => ({
    model: modelPath,
    samples: draw.npzPath,
    out: `${out}-${method}-${practice}-${draw.split.seed}.onnx`,
    method,
    practice,
  })
  const methods = isTransformer ? [...THEIRS, 'dynamic' as const] : THEIRS
  return [...methods.map((method) => job(method, 'documented')), job('minmax', 'defaults')]
}

function push<Key>(map: Map<Key, Outcome[]>, key: Key, outcome: Outcome): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [outcome])
  else list.push(outcome)
}

/** Of the first seed: minmax, whose scales are the widest, and what takes no calibration. */
export function latencyCases({ name, modelPath, draw, ours, theirs }: Compared): readonly LatencyCase[] {
  return (['minmax', 'dynamic'] as const).flatMap((method) => {
    const [own] = ours.get(method) ?? []
    const [other] = theirs.get(method) ?? []
    return own === undefined
      ? []
      : [{ name, modelPath, draw, calibration: method, ours: own.path, theirs: other?.path }]
  })
}

/** What a search would come to: of each seed the static file that did best on the tuning samples. */
function chosen(outcomes: ReadonlyMap<string, Outcomes>): Outcomes {
  const methods = [...outcomes].filter(([method]) => method !== 'dynamic' && method !== 'defaults')
  const seeds = methods[0]?.[1].length ?? 0
  return Array.from({ length: seeds }, (_, seed) =>
    methods
      .flatMap(([, list]) => list[seed] ?? [])
      .reduce((best, next) => {
        const gain = next.tuning.points - best.tuning.points
        return gain > 0 || (gain === 0 && next.tuning.sqnrDb > best.tuning.sqnrDb) ? next : best
      }),
  )
}

export function accuracyTable(compared: readonly Compared[]): string {
  const rows = compared.flatMap(({ name, fp32Top1, ours, theirs }) => {
    const row = (title: string, our: Outcomes | undefined, their: Outcomes | undefined) => [
      name,
      fp32Top1.toFixed(2),
      title,
      ...cells(our),
      ...cells(their),
      our && their ? signed(mean(our) - mean(their)) : '',
      our && their && title !== BEST ? (medianMs(our) / medianMs(their)).toFixed(2) : '',
    ]
    const methods = [...ours.keys()].map((method) =>
      row(method, ours.get(method), method === 'mse' ? undefined : theirs.get(method)),
    )
    return [
      ...methods,
      row(BEST, chosen(ours), theirs.size === 0 ? undefined : chosen(theirs)),
      ...(theirs.has('defaults') ? [row('the tool’s defaults', undefined, theirs.get('defaults'))] : []),
    ]
  })
  const side = (name: string) => [`${name}: mean (least)`, 'SQNR dB', 's']
  return `Points of top-1 against fp32 on the same samples over calibration seeds; time is the median, of new processes without start and imports.\n\n${markdownTable(
    ['model', 'fp32 top-1', 'calibration', ...side('edgefit'), ...side('reference'), 'difference', 'time ratio'],
    rows,
  )}`
}

function cells(outcomes: Outcomes | undefined): readonly string[] {
  if (outcomes === undefined) return ['', '', '']
  const least = Math.min(...outcomes.map(({ points }) => points))
  const sqnr = outcomes.reduce((sum, { sqnrDb }) => sum + sqnrDb, 0) / outcomes.length
  return [`${signed(mean(outcomes))} (${signed(least)})`, sqnr.toFixed(1), (medianMs(outcomes) / 1000).toFixed(2)]
}

function mean(outcomes: Outcomes): number {
  return outcomes.reduce((sum, { points }) => sum + points, 0) / outcomes.length
}

function medianMs(outcomes: Outcomes): number {
  return quantile(sortedCopy(outcomes.map(({ wallMs }) => wallMs)), 0.5)
}

function signed(points: number): string {
  const text = points.toFixed(2)
  return points > 0 && text !== '0.00' ? `+${text}` : text.replace('-0.00', '0.00')
}

function first<Value>(values: readonly Value[]): Value {
  const [value] = values
  if (value === undefined) throw new RangeError('--seeds: at least 1')
  return value
}
