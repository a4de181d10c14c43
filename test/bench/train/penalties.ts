/** Pressure on weights, removal of what it made small, and recovery: what each step keeps, and what the file then packs to. */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { type PassReport, Recipe, type Training } from '@edgefit/shared/model'
import { asFloat32, loadModel } from '@edgefit/shared/onnx'
import { percent } from '../prune-shop.ts'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitter, inFolder, RUNTIME } from './fitted.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

type Penalty = Training['penalties'][number]

const PRESSED = 'fashion_resnet14'
const PENALTIES: readonly (Penalty | undefined)[] = [
  undefined,
  ...[1e-4, 3e-4, 1e-3, 3e-3].map((strength) => ({ kind: 'l1' as const, strength })),
  ...[1e-3, 1e-2, 3e-2, 1e-1].map((strength) => ({ kind: 'l2' as const, strength })),
]
const THRESHOLD = 0.003
const UPDATES = 200
const RECOVERY_UPDATES = 100

interface PressedRow {
  readonly penalty: Penalty | undefined
  /** Of the weights of layers, after removal, and after recovery. */
  readonly zeros: readonly [number, number]
  /** On the tuning split: as given, under pressure, with what is small removed, recovered. */
  readonly tuning: readonly number[]
  /** In the end, on samples that nothing has seen. */
  readonly top1: number
  readonly gzipBytes: number
}

interface Bench {
  readonly fitter: Fitter
  readonly folder: string
  print(line: string): void
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Stays, so that a run that was interrupted goes on. */
      folder: { type: 'string' },
      part: { type: 'string', multiple: true, default: Object.keys(PARTS) },
    },
  })
  const unknown = values.part.filter((part) => !(part in PARTS))
  if (unknown.length > 0) {
    throw new RangeError(`--part ${unknown.join(', ')}: choose among ${Object.keys(PARTS).join(', ')}`)
  }
  await inFolder(values.folder, async (folder) => {
    const fitter = await createFitter({ folder, signal: AbortSignal.timeout(4 * 60 * 60_000) })
    const bench: Bench = { fitter, folder, print: (line) => process.stderr.write(`${line}\n`) }
    for (const part of values.part) console.log(`${await PARTS[part]?.(bench)}\n`)
  })
}

const PARTS: Readonly<Record<string, (bench: Bench) => Promise<string>>> = { pressure }

async function pressure(bench: Bench): Promise<string> {
  const [subject] = trainSubjects(PRESSED)
  if (subject === undefined) return ''
  const rows: PressedRow[] = []
  for (const penalty of PENALTIES) {
    const row = await pressedRow(bench, subject, penalty)
    rows.push(row)
    bench.print(JSON.stringify(row))
  }
  return markdownTable(
    [
      'penalty',
      'strength',
      'zeros',
      'after recovery',
      'tuning split: given',
      'pressed',
      'removed',
      'recovered',
      'test set',
      'gzip',
    ],
    rows.map(({ penalty, zeros, tuning, top1, gzipBytes }) => [
      penalty?.kind ?? 'none',
      String(penalty?.strength ?? ''),
      ...zeros.map(percent),
      ...tuning.map(percent),
      percent(top1),
      kilobytes(gzipBytes),
    ]),
  )
}

async function pressedRow({ fitter }: Bench, subject: TrainSubject, penalty: Penalty | undefined): Promise<PressedRow> {
  const { path, passes, accuracy } = await fitter.fit(subject, recipeOf([pressing(penalty), REMOVING, RECOVERING]))
  const [pressed, removed, recovered] = passes
  const bytes = await readFile(path)
  return {
    penalty,
    zeros: [numbersIn(removed, /^([\d.]+) % of/)[0] ?? Number.NaN, await zerosIn(path)],
    tuning: [...numbersIn(pressed, TRAINED), ...numbersIn(recovered, TRAINED)],
    top1: accuracy.variant.value,
    gzipBytes: gzipSync(bytes).byteLength,
  }
}

/** What training says of the tuning split: before, and in the end. */
const TRAINED = /: ([\d.]+) % on the tuning split before, ([\d.]+) %/

/** Shares that a pass notes in percent. */
function numbersIn(pass: PassReport | undefined, pattern: RegExp): readonly number[] {
  const found = pass?.notes.map((note) => pattern.exec(note)).find((match) => match !== null)
  return (found ?? []).slice(1).map((text) => Number(text) / 100)
}

function pressing(penalty: Penalty | undefined): object {
  return { pass: 'fine-tune', penalties: penalty === undefined ? [] : [penalty], updates: UPDATES, evaluateEvery: 100 }
}

const REMOVING = { pass: 'prune-weights', target: { by: 'magnitude', threshold: THRESHOLD } }

const RECOVERING = { pass: 'fine-tune', updates: RECOVERY_UPDATES, evaluateEvery: 50, learningRate: 0.005 }

function recipeOf(passes: readonly object[]): Recipe {
  return Recipe.parse({ passes, runtime: RUNTIME })
}

/** Share of the weights of layers that is zero. */
async function zerosIn(path: string): Promise<number> {
  const { graph } = await loadModel(path)
  let zeros = 0
  let all = 0
  for (const tensor of graph.initializers.values()) {
    if (tensor.dataType !== 'FLOAT' || tensor.dims.length < 2) continue
    for (const value of asFloat32(tensor)) {
      all++
      if (value === 0) zeros++
    }
  }
  return zeros / all
}

function kilobytes(sizeBytes: number): string {
  return `${(sizeBytes / 1e3).toFixed(0)} kB`
}
