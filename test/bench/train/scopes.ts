/** What it costs to train all of a network or a part of it, by turns, and what each wins back after pruning. */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Recipe, Training } from '@edgefit/shared/model'
import { loadModel, operatorHistogram } from '@edgefit/shared/onnx'
import { median } from '@edgefit/shared/stats'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitted, inFolder, RUNTIME } from './fitted.ts'
import { startTrainer, type Trainer } from './steps.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

const HOURS_MS = 60 * 60_000
const CHILD = fileURLToPath(new URL('./scopes-child.ts', import.meta.url))
const SUBJECTS: readonly string[] = ['fashion_resnet14', 'fashion_mobilenetv2']
const SCOPES: Readonly<Record<string, Training['trainable']>> = {
  all: { kind: 'all' },
  'last 3 layers': { kind: 'last-layers', layers: 3 },
  'last layer': { kind: 'last-layers', layers: 1 },
  'biases and norms': { kind: 'biases-and-norms' },
}
const PRUNE = { pass: 'prune-channels', target: { by: 'ratio', ratio: 0.25, alignTo: 8 } }
const ESTIMATE = { pass: 'estimate-batch-norm', samples: 300 }
const WARM_UP_STEPS = 2
const STEPS_A_TURN = 3

interface Cost {
  readonly cpuMs: number
  /** Of training all. */
  readonly timeRatio: number
  readonly peakMib: number
  readonly memoryRatio: number
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Stays, so that a run that was interrupted goes on. */
      folder: { type: 'string' },
      only: { type: 'string', default: '' },
      updates: { type: 'string', default: '200' },
      turns: { type: 'string', default: '9' },
      json: { type: 'boolean', default: false },
    },
  })
  await inFolder(values.folder, async (folder) => {
    const fitter = await createFitter({ folder, signal: AbortSignal.timeout(4 * HOURS_MS) })
    const lines: string[][] = []
    for (const subject of trainSubjects(values.only).filter(({ name }) => SUBJECTS.includes(name))) {
      const costs = await costsOf(subject, Number(values.turns))
      const tell = (trained: string, fitted: Fitted, cost?: Cost): void => {
        if (values.json) console.log(JSON.stringify({ subject: subject.name, trained, cost, ...fitted }))
        lines.push(cellsOf(subject, trained, fitted, cost))
        process.stderr.write(`${lines.at(-1)?.join(' | ')}\n`)
      }
      tell('nothing', await fitter.fit(subject, recipeOf(PRUNE)))
      if (operatorHistogram(await loadModel(subject.modelPath)).has('BatchNormalization')) {
        tell('nothing, statistics estimated', await fitter.fit(subject, recipeOf(PRUNE, ESTIMATE)))
      }
      for (const [scope, trainable] of Object.entries(SCOPES)) {
        const fineTune = { pass: 'fine-tune', ...settings(trainable), updates: Number(values.updates) }
        tell(scope, await fitter.fit(subject, recipeOf(PRUNE, fineTune)), costs.get(scope))
      }
    }
    if (!values.json) console.log(markdownTable(HEADER, lines))
  })
}

/** Adam, whose steps are about as long whatever is trained. */
function settings(trainable: Training['trainable']) {
  return { trainable, optimizer: { kind: 'adam' as const }, learningRate: 1e-3, batch: 32, evaluateEvery: 100 }
}

function recipeOf(...passes: readonly object[]): Recipe {
  return Recipe.parse({ passes, runtime: RUNTIME })
}

/** By scope: of the whole network, in processes that take turns. */
async function costsOf({ modelPath }: TrainSubject, turns: number): Promise<ReadonlyMap<string, Cost>> {
  const trainers: { readonly scope: string; readonly trainer: Trainer; readonly cpuMs: number[]; peakMib: number }[] =
    []
  try {
    for (const [scope, trainable] of Object.entries(SCOPES)) {
      const training = JSON.stringify(Training.parse({ ...settings(trainable), updates: 1 }))
      const trainer = await startTrainer(scope, process.execPath, [...process.execArgv, CHILD, modelPath, training])
      trainers.push({ scope, trainer, cpuMs: [], peakMib: 0 })
      await trainer.turn(WARM_UP_STEPS)
    }
    for (let turn = 0; turn < turns; turn++) {
      for (const one of trainers) {
        const { cpuMs, peakMib } = await one.trainer.turn(STEPS_A_TURN)
        one.cpuMs.push(median(cpuMs))
        one.peakMib = peakMib
      }
    }
  } finally {
    for (const { trainer } of trainers) await trainer.stop()
  }
  const [all] = trainers
  return new Map(
    trainers.map(({ scope, cpuMs, peakMib }) => [
      scope,
      {
        cpuMs: median(cpuMs),
        timeRatio: median(cpuMs.map((ms, turn) => ms / (all?.cpuMs[turn] ?? Number.NaN))),
        peakMib,
        memoryRatio: peakMib / (all?.peakMib ?? Number.NaN),
      },
    ]),
  )
}

const HEADER = ['model', 'trained', 'step, ms of the processor', 'of all', 'peak RSS, MiB', 'of all', 'top-1', 'fp32']

function cellsOf({ name }: TrainSubject, trained: string, { accuracy }: Fitted, cost: Cost | undefined): string[] {
  const costs =
    cost === undefined
      ? ['', '', '', '']
      : [cost.cpuMs.toFixed(0), cost.timeRatio.toFixed(2), cost.peakMib.toFixed(0), cost.memoryRatio.toFixed(2)]
  return [name, trained, ...costs, percent(accuracy.variant.value), percent(accuracy.fp32.value)]
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`
}
