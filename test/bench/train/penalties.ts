/** Pressure on weights, removal of what it made small, and recovery: what each step keeps, and what the file then packs to. */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { type LatencyRatio, type PassReport, Recipe, type Training } from '@edgefit/shared/model'
import { asFloat32, loadModel } from '@edgefit/shared/onnx'
import { percent, saved } from '../prune-shop.ts'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitter, inFolder, RUNTIME } from './fitted.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

type Penalty = Training['penalties'][number]

const PRESSED = 'fashion_resnet14'
/** Of about the same reach, weakest first. */
const STRENGTHS = { l1: [3e-4, 1e-3, 3e-3, 1e-2], l2: [1e-2, 3e-2, 1e-1, 3e-1] } as const
/** Of the channels; were none spared, those that stay would shrink as well. */
const SPARED = [0.75, 0.6, 0.5]
const GROUP_STRENGTH = 0.3
const COMPARED = ['fashion_resnet14', 'fashion_mobilenetv2']
const SAVED_SHARE = 0.2
const THRESHOLD = 0.003
const UPDATES = 300
const RECOVERY_UPDATES = 150
const GROUP_UPDATES = 500
const GROUP_RECOVERY_UPDATES = 800
/** Of trained networks: more of it costs accuracy by itself. */
const LEARNING_RATE = 0.002
/** Does nothing, and training under a penalty keeps its last weights: what updates alone do. */
const NONE: Penalty = { kind: 'l2', strength: 1e-9 }

interface PressedRow {
  readonly penalty: Penalty
  /** Of the weights of layers, after removal, and after recovery. */
  readonly zeros: readonly [number, number]
  /** On the tuning split: as given, under pressure, with what is small removed, recovered. */
  readonly tuning: readonly number[]
  /** In the end, on samples that nothing has seen. */
  readonly top1: number
  readonly gzipBytes: number
}

interface CutRow {
  readonly model: string
  readonly how: string
  readonly removed: string
  /** On the tuning split; empty where nothing is trained. */
  readonly tuning: readonly number[]
  /** On the test set: as given, and in the end. */
  readonly top1: readonly [number, number]
  readonly latency: LatencyRatio
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

const PARTS: Readonly<Record<string, (bench: Bench) => Promise<string>>> = { pressure, groups, importance }

async function pressure(bench: Bench): Promise<string> {
  const [subject] = trainSubjects(PRESSED)
  if (subject === undefined) return ''
  const rows: PressedRow[] = []
  const penalties = [0, 1, 2, 3].flatMap((at) =>
    (['l1', 'l2'] as const).map((kind): Penalty => ({ kind, strength: STRENGTHS[kind][at] ?? Number.NaN })),
  )
  for (const penalty of [NONE, ...penalties]) {
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
      penalty === NONE ? 'none' : penalty.kind,
      penalty === NONE ? '' : String(penalty.strength),
      ...zeros.map(percent),
      ...tuning.map(percent),
      percent(top1),
      kilobytes(gzipBytes),
    ]),
  )
}

async function pressedRow({ fitter }: Bench, subject: TrainSubject, penalty: Penalty): Promise<PressedRow> {
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

/** Group lasso empties channels, pruning takes them out, what is left recovers. */
async function groups(bench: Bench): Promise<string> {
  const [subject] = trainSubjects(PRESSED)
  if (subject === undefined) return ''
  const rows: CutRow[] = []
  for (const spared of SPARED) {
    const penalties = [{ kind: 'group-lasso', strength: GROUP_STRENGTH, spared }]
    const pressed = { ...taught(GROUP_UPDATES), penalties, evaluateEvery: GROUP_UPDATES }
    const recipe = recipeOf([pressed, EMPTIED, taught(GROUP_RECOVERY_UPDATES)])
    const { passes, accuracy, latencyRatio } = await bench.fitter.fit(subject, recipe)
    rows.push({
      model: subject.name,
      how: `group-lasso, ${percent(spared)} spared`,
      removed: removedIn(passes[1]),
      tuning: passes.flatMap((pass) => numbersIn(pass, TRAINED)),
      top1: [accuracy.fp32.value, accuracy.variant.value],
      latency: latencyRatio,
    })
    bench.print(JSON.stringify(rows.at(-1)))
  }
  return cutTable(rows)
}

/** Pruned to the same predicted latency by different measures, and not trained. */
async function importance(bench: Bench): Promise<string> {
  const rows: CutRow[] = []
  for (const subject of trainSubjects('fashion').filter(({ name }) => COMPARED.includes(name))) {
    for (const measure of ['l2', 'lamp', 'taylor']) {
      const target = { by: 'saved-share', savedShare: SAVED_SHARE, steps: 5, samples: 32 }
      const recipe = recipeOf([{ pass: 'prune-channels', importance: measure, target }])
      const { passes, accuracy, latencyRatio } = await bench.fitter.fit(subject, recipe)
      rows.push({
        model: subject.name,
        how: measure,
        removed: removedIn(passes[0]),
        tuning: [],
        top1: [accuracy.fp32.value, accuracy.variant.value],
        latency: latencyRatio,
      })
      bench.print(JSON.stringify(rows.at(-1)))
    }
  }
  return cutTable(rows)
}

function removedIn(pass: PassReport | undefined): string {
  return pass?.notes.find((note) => note.startsWith('removed ')) ?? ''
}

function cutTable(rows: readonly CutRow[]): string {
  return markdownTable(
    [
      'model',
      'by',
      'channels',
      'tuning split: given, pressed, removed, recovered',
      'test set: given',
      'after',
      'time saved (95 %)',
    ],
    rows.map(({ model, how, removed, tuning, top1, latency }) => [
      model,
      how,
      removed,
      tuning.map(percent).join(', '),
      ...top1.map(percent),
      saved(latency),
    ]),
  )
}

function pressing(penalty: Penalty): object {
  return {
    pass: 'fine-tune',
    penalties: [penalty],
    learningRate: LEARNING_RATE,
    updates: UPDATES,
    evaluateEvery: UPDATES,
  }
}

/** Adam's steps travel the norm of a channel in hundreds of updates; the whole network as teacher holds the accuracy. */
function taught(updates: number): object {
  return {
    pass: 'fine-tune',
    loss: { kind: 'distillation', temperature: 4, mixing: 0.9 },
    optimizer: { kind: 'adamw' },
    learningRate: 0.001,
    updates,
    evaluateEvery: updates / 2,
  }
}

/** Blocks of the runtime's float kernels on x64 are of 16 channels. */
const EMPTIED = {
  pass: 'prune-channels',
  importance: 'filter-l2',
  target: { by: 'importance', below: 0.01, alignTo: 16 },
}

const REMOVING = { pass: 'prune-weights', target: { by: 'magnitude', threshold: THRESHOLD } }

const RECOVERING = {
  pass: 'fine-tune',
  learningRate: LEARNING_RATE,
  updates: RECOVERY_UPDATES,
  evaluateEvery: RECOVERY_UPDATES / 3,
}

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
