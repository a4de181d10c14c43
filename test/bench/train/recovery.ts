/** Models pruned to a share of their measured latency, and what training wins back: by labels, and by a teacher besides. */
import { parseArgs } from 'node:util'
import { Recipe } from '@edgefit/shared/model'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitted, type Fitter, inFolder, RUNTIME } from './fitted.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

const MIB = 2 ** 20
/** How often more is pruned where the model is not as fast as wanted. */
const TRIES = 16
const MORE = 1.04

/** Pruning, then training; several times where less at a time loses less. */
interface Round {
  /** Passes that make the model smaller. `amount` is 1 at first, and more where that is not enough. */
  readonly prune: (amount: number) => readonly object[]
  readonly training: {
    readonly updates: number
    readonly learningRate: number
    /** Looks at few samples choose by luck: where there are few, one at the end says whether training was of use at all. */
    readonly evaluateEvery?: number
  }
}

interface Recovery {
  /** Share of fp32's latency to get to. */
  readonly latency: number
  readonly rounds: readonly Round[]
  /** Of samples, where they are few. */
  readonly augmentation?: object
  readonly distillation: {
    readonly temperature: number
    readonly mixing: number
    /** Values that pruning leaves whole, and the teacher's of which are learned besides. */
    readonly hints?: readonly { readonly value: string; readonly weight: number }[]
  }
}

const FOLD = { pass: 'fold-batch-norm' }
/** Kernels compute 16 channels at a time: what is left is a multiple of that. */
const RESNET = {
  '/5/f/f.0/Conv_output_0': 0.25,
  '/5/f/f.3/Conv_output_0': 0.25,
  '/6/f/f.0/Conv_output_0': 0.25,
  '/7/f/f.0/Conv_output_0': 0.375,
  '/7/f/f.3/Conv_output_0': 0.375,
  '/8/f/f.0/Conv_output_0': 0.5,
}
/** What blocks expand to. What they hand on stays whole: residuals add to it, and it is narrow already. */
const MOBILENET = {
  '/4/f/f.0/Conv_output_0': 0.34,
  ...expansions([5, 6], 0.5),
  ...expansions([7, 8], 0.56),
  ...expansions([9, 10, 11], 0.59),
  ...expansions([12, 13, 14], 0.62),
  '/15/f/f.0/Conv_output_0': 0.6,
  '/16/Conv_output_0': 0.5,
}
/** Where a block of MobileNetV2 hands on. */
const HANDED_ON = [
  ...[4, 6, 8, 11, 14].map((block) => `/${block}/f/f.7/BatchNormalization_output_0`),
  ...[5, 7, 9, 10, 12, 13, 15].map((block) => `/${block}/Add_output_0`),
]

const RECOVERIES: Readonly<Record<string, Recovery>> = {
  fashion_resnet14: {
    latency: 0.5,
    rounds: [
      {
        prune: (amount) => [FOLD, byRatio(RESNET, amount, 16, 'taylor')],
        training: { updates: 1500, learningRate: 1e-3 },
      },
    ],
    distillation: { temperature: 2, mixing: 0.9 },
  },
  fashion_mobilenetv2: {
    latency: 0.5,
    rounds: [
      {
        prune: (amount) => [byRatio(MOBILENET, amount, 16, 'l2'), { pass: 'estimate-batch-norm', samples: 300 }, FOLD],
        training: { updates: 5000, learningRate: 1.5e-3 },
      },
    ],
    distillation: { temperature: 2, mixing: 0.9, hints: HANDED_ON.map((value) => ({ value, weight: 0.1 })) },
  },
  'MLPerf DS-CNN': {
    latency: 0.7,
    rounds: [
      {
        prune: (amount) => [FOLD, byRatio(alike(['conv_1', 'conv_5', 'conv_13'], 0.25), amount, 8, 'taylor')],
        training: { updates: 800, learningRate: 2e-3, evaluateEvery: 800 },
      },
      {
        prune: (amount) => [byRatio(alike(['conv_5', 'conv_13'], 0.34), amount, 8, 'taylor')],
        training: { updates: 5000, learningRate: 2e-3, evaluateEvery: 5000 },
      },
    ],
    augmentation: { shifts: [{ axis: 2, most: 2 }] },
    distillation: { temperature: 4, mixing: 0.5, hints: ['relu_10', 'relu_18'].map((value) => ({ value, weight: 3 })) },
  },
  clinc150_transformer: {
    latency: 0.7,
    rounds: [
      {
        prune: (amount) => [
          FOLD,
          { pass: 'prune-channels', target: { by: 'saved-share', savedShare: Math.min(0.9, 0.38 * amount) } },
        ],
        training: { updates: 1500, learningRate: 1e-3 },
      },
    ],
    distillation: { temperature: 2, mixing: 0.9 },
  },
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Stays, so that a run that was interrupted goes on. */
      folder: { type: 'string' },
      only: { type: 'string', default: '' },
      /** Updates of each round, times this. */
      updates: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
    },
  })
  await inFolder(values.folder, async (folder) => {
    const fitter = await createFitter({ folder, signal: AbortSignal.timeout(4 * 60 * 60_000) })
    const lines: string[][] = []
    const tell = (subject: TrainSubject, learnsFrom: string, recipe: Recipe, fitted: Fitted): void => {
      if (values.json) console.log(JSON.stringify({ subject: subject.name, recipe, ...fitted }))
      lines.push(cellsOf(subject, learnsFrom, fitted))
      process.stderr.write(`${lines.at(-1)?.join(' | ')}\n`)
    }
    for (const subject of trainSubjects(values.only)) {
      const recovery = RECOVERIES[subject.name]
      if (recovery === undefined) continue
      const { amount, recipe, fitted } = await prunedTo(fitter, subject, recovery)
      tell(subject, 'nothing', recipe, fitted)
      const { hints = [], ...distillation } = recovery.distillation
      const lessons = {
        labels: { loss: { kind: 'cross-entropy' } },
        'teacher and labels': { loss: { kind: 'distillation', ...distillation }, hints },
      }
      for (const [learnsFrom, lesson] of Object.entries(lessons)) {
        const trained = recovered(recovery, amount, lesson, Number(values.updates))
        tell(subject, learnsFrom, trained, await fitter.fit(subject, trained))
      }
    }
    if (!values.json) console.log(markdownTable(HEADER, lines))
  })
}

/** As much as it takes to be measured as fast as wanted. */
async function prunedTo(fitter: Fitter, subject: TrainSubject, { latency, rounds }: Recovery) {
  let amount = 1
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const recipe = recipeOf(rounds.flatMap(({ prune }) => prune(amount)))
    const fitted = await fitter.fit(subject, recipe)
    const { ratio } = fitted.latencyRatio
    if (ratio <= latency) return { amount, recipe, fitted }
    process.stderr.write(`${subject.name}: ${percent(ratio)} of latency is left, more is pruned\n`)
    amount *= MORE
  }
  throw new RangeError(`${subject.name}: pruning does not get it to ${percent(latency)} of its latency`)
}

function recovered({ rounds, augmentation }: Recovery, amount: number, lesson: object, factor: number): Recipe {
  return recipeOf(
    rounds.flatMap(({ prune, training: { updates, learningRate, evaluateEvery = 200 } }) => [
      ...prune(amount),
      {
        pass: 'fine-tune',
        ...lesson,
        ...(augmentation && { augmentation }),
        optimizer: { kind: 'adamw' },
        learningRate,
        schedule: { kind: 'cosine', warmUpSteps: 50 },
        updates: Math.round(updates * factor),
        evaluateEvery: Math.round(evaluateEvery * factor),
        patience: 1000,
      },
    ]),
  )
}

function expansions(blocks: readonly number[], ratio: number): Record<string, number> {
  return alike(
    blocks.map((block) => `/${block}/f/f.0/Conv_output_0`),
    ratio,
  )
}

function alike(values: readonly string[], ratio: number): Record<string, number> {
  return Object.fromEntries(values.map((value) => [value, ratio]))
}

function byRatio(ratios: Readonly<Record<string, number>>, amount: number, alignTo: number, importance: string) {
  const ratio = Object.fromEntries(
    Object.entries(ratios).map(([value, share]) => [value, Math.min(0.9, share * amount)]),
  )
  return { pass: 'prune-channels', target: { by: 'ratio', ratio, alignTo }, importance }
}

function recipeOf(passes: readonly object[]): Recipe {
  return Recipe.parse({ passes, runtime: RUNTIME })
}

const HEADER = [
  'model',
  'learns from',
  'latency (95 %)',
  'fp32, top-1',
  'pruned, top-1',
  'points lost',
  'built in',
  'peak RSS, MiB',
  'training samples',
]

function cellsOf({ name, trainedOn }: TrainSubject, learnsFrom: string, fitted: Fitted): string[] {
  const { accuracy, latencyRatio, elapsedMs, peakRssBytes } = fitted
  return [
    name,
    learnsFrom,
    `${percent(latencyRatio.ratio)} (${percent(latencyRatio.low)} to ${percent(latencyRatio.high)})`,
    percent(accuracy.fp32.value, 2),
    percent(accuracy.variant.value, 2),
    (100 * (accuracy.fp32.value - accuracy.variant.value)).toFixed(2),
    `${(elapsedMs / 1000).toFixed(0)} s`,
    (peakRssBytes / MIB).toFixed(0),
    trainedOn,
  ]
}

function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)} %`
}
