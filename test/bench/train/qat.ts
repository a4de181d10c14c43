/** Where quantization after training loses accuracy: what repair wins back, and what training for it does. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Recipe } from '@edgefit/shared/model'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitter, inFolder, RUNTIME } from './fitted.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

const IS_ARM = process.arch === 'arm64'
const SAMPLES = 300
const FOLD = { pass: 'fold-batch-norm' }
const EQUALIZE = { pass: 'equalize', clips: 'replace' }

/** One way to quantize one model, and what there is to do about what it loses. */
interface Case {
  readonly subject: string
  readonly format: string
  /** By column. */
  readonly recipes: Readonly<Record<Column, readonly object[] | undefined>>
}

const COLUMNS = ['PTQ', 'repaired', 'trained', 'learned', 'both'] as const
type Column = (typeof COLUMNS)[number]
const HOW: Readonly<Record<Column, string>> = {
  PTQ: 'calibrated',
  repaired: 'and repaired',
  trained: 'trained, scales from weights',
  learned: 'trained, scales learned as well',
  both: 'equalized, then so trained',
}

function int8(weights: { readonly perChannel: boolean; readonly reducedRange: boolean }) {
  return {
    activations: { type: IS_ARM ? 'int8' : 'uint8' },
    weights,
    calibration: { method: 'minmax', samples: SAMPLES },
  }
}

function int8Case(
  subject: string,
  format: string,
  weights: { readonly perChannel: boolean; readonly reducedRange: boolean },
  training: object,
): Case {
  const settings = int8(weights)
  const quantize = { pass: 'quantize-static', ...settings }
  const aware = { pass: 'quantize-aware', ...settings, training }
  const learned = { ...aware, weightScales: 'learned', activationRanges: 'learned' }
  return {
    subject,
    format,
    recipes: {
      PTQ: [FOLD, quantize],
      repaired: [FOLD, EQUALIZE, quantize, { pass: 'correct-bias', samples: 100 }],
      trained: [FOLD, aware],
      learned: [FOLD, learned],
      both: [FOLD, EQUALIZE, { ...learned, training: { ...training, ...SHORTER } }],
    },
  }
}

function int4Case(subject: string, format: string, settings: object, training: object): Case {
  const aware = { pass: 'quantize-weights-aware', bits: 4, ...settings, training }
  return {
    subject,
    format,
    recipes: {
      PTQ: [FOLD, { pass: 'quantize-weights', bits: 4, ...settings }],
      repaired: undefined,
      trained: [FOLD, aware],
      learned: [FOLD, { ...aware, weightScales: 'learned' }],
      both: undefined,
    },
  }
}

const DISTILLATION = { kind: 'distillation', temperature: 4, mixing: 0.9 }
const NET_TRAINING = {
  loss: DISTILLATION,
  optimizer: { kind: 'adam' },
  learningRate: 1e-3,
  schedule: { kind: 'cosine', warmUpSteps: 20 },
  updates: 500,
  batch: 32,
  evaluateEvery: 50,
}
/** From where repair has brought a model, there is less to learn. */
const SHORTER = { learningRate: 1e-4, updates: 150 }
const TEXT_TRAINING = { ...NET_TRAINING, learningRate: 3e-4, updates: 200 }

const CASES: readonly Case[] = [
  int8Case('fashion_mobilenetv2', 'int8, a scale a layer', { perChannel: false, reducedRange: false }, NET_TRAINING),
  int8Case('fashion_mobilenetv2', '7 bits, a scale a layer', { perChannel: false, reducedRange: true }, NET_TRAINING),
  int8Case('fashion_resnet14', '7 bits, a scale a layer', { perChannel: false, reducedRange: true }, NET_TRAINING),
  int4Case('clinc150_transformer', 'int4, blocks of 32', { blockSize: 32 }, TEXT_TRAINING),
  int4Case('clinc150_transformer', 'int4, blocks of 128', { blockSize: 128 }, TEXT_TRAINING),
]

interface Row extends Pick<Case, 'subject' | 'format'> {
  readonly column: Column
  readonly fp32: number
  readonly top1: number
  /** Of the graph that was trained over the exported model, on the tuning split, in points. */
  readonly disagreement: string
  readonly elapsedMs: number
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Stays, so that a run that was interrupted goes on. */
      folder: { type: 'string' },
      only: { type: 'string', default: '' },
      columns: { type: 'string', default: COLUMNS.join() },
    },
  })
  const columns = values.columns.split(',')
  await inFolder(values.folder, async (folder) => {
    const fitter = await createFitter({ folder, signal: AbortSignal.timeout(4 * 60 * 60_000) })
    const rows: Row[] = []
    for (const one of CASES) {
      const [subject] = trainSubjects(one.subject)
      if (subject === undefined || !`${one.subject} ${one.format}`.includes(values.only)) continue
      for (const column of COLUMNS) {
        const passes = one.recipes[column]
        if (passes === undefined || !columns.includes(column)) continue
        const row = await rowOf(fitter, subject, { ...one, column, passes, folder })
        process.stderr.write(`${JSON.stringify(row)}\n`)
        rows.push(row)
      }
    }
    console.log(tableOf(rows))
  })
}

async function rowOf(
  fitter: Fitter,
  subject: TrainSubject,
  { format, column, passes, folder }: Case & { column: Column; passes: readonly object[]; folder: string },
): Promise<Row> {
  // Under one path the teacher is asked once for all rows.
  const outPath = join(folder, `${subject.name}.onnx`)
  const {
    accuracy,
    passes: reports,
    elapsedMs,
  } = await fitter.fit(subject, Recipe.parse({ passes, runtime: RUNTIME }), { outPath })
  const notes = reports.flatMap((report) => report.notes)
  process.stderr.write(`${notes.filter((note) => note.includes('trained')).join('\n')}\n`)
  const [, points = '', which] = notes.map((note) => AGREEMENT.exec(note)).find((found) => found !== null) ?? []
  return {
    subject: subject.name,
    format,
    column,
    fp32: accuracy.fp32.value,
    top1: accuracy.variant.value,
    disagreement: which === 'less' ? `-${points}` : points,
    elapsedMs,
  }
}

const AGREEMENT = /scores ([\d.]+) points (less|more)/

function tableOf(rows: readonly Row[]): string {
  return markdownTable(
    ['model', 'weights', 'how', 'fp32, %', 'top-1, %', 'points', 'trained graph over exported', 'minutes'],
    rows.map(({ subject, format, column, fp32, top1, disagreement, elapsedMs }) => [
      subject,
      format,
      HOW[column],
      (100 * fp32).toFixed(2),
      (100 * top1).toFixed(2),
      (100 * (top1 - fp32)).toFixed(2),
      disagreement,
      (elapsedMs / 60_000).toFixed(1),
    ]),
  )
}
