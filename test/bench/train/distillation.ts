/** What a teacher adds to a student that learns from random weights, from trained ones, and as a narrower copy of the teacher. */
import { parseArgs } from 'node:util'
import { digestFile } from '@edgefit/shared/artifact'
import { Recipe } from '@edgefit/shared/model'
import { sharedPath } from '../../agent/compress/support/real-models.ts'
import { markdownTable } from '../ptq-tables.ts'
import { createFitter, type Fitted, inFolder, RUNTIME } from './fitted.ts'
import { type TrainSubject, trainSubjects } from './subjects.ts'

const TEACHER = 'fashion_teacher'
const STUDENT = sharedPath('fashion_mnist/student.onnx')
const BATCH = 64
/** Scratch takes larger steps than what is trained already. */
const RATES = { random: 3e-3, trained: 1e-3 }

interface Row {
  readonly student: string
  readonly learnsFrom: string
  /** By seed: what trains, the file handed over with it. */
  readonly recipe: (seed: number) => Recipe
  readonly studentPath?: string
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Stays, so that a run that was interrupted goes on. */
      folder: { type: 'string' },
      updates: { type: 'string', default: '2000' },
      seeds: { type: 'string', default: '3' },
      /** Rows whose first two cells contain this. */
      only: { type: 'string', default: '' },
      /** Of the training images. */
      samples: { type: 'string', default: '12000' },
    },
  })
  const [teacher] = trainSubjects(TEACHER)
  if (teacher === undefined) return
  const subject = withFewer(teacher, Number(values.samples))
  const rows = rowsOf(await digestFile(STUDENT, AbortSignal.timeout(60_000)), Number(values.updates)).filter(
    ({ student, learnsFrom }) => `${student}, ${learnsFrom}`.includes(values.only),
  )
  await inFolder(values.folder, async (folder) => {
    const fitter = await createFitter({ folder, signal: AbortSignal.timeout(4 * 60 * 60_000) })
    const lines: string[][] = []
    for (const { student, learnsFrom, recipe, studentPath } of rows) {
      const fitted: Fitted[] = []
      for (let seed = 0; seed < Number(values.seeds); seed++) {
        const one = await fitter.fit(subject, recipe(seed), { ...(studentPath !== undefined && { studentPath }) })
        fitted.push(one)
        process.stderr.write(
          `${student}, ${learnsFrom}, seed ${seed}: ${percent(top1Of(one))}; ${one.passes.at(-1)?.notes[0]}\n`,
        )
      }
      lines.push([student, learnsFrom, ...cellsOf(fitted)])
      process.stderr.write(`${lines.at(-1)?.join(' | ')}\n`)
    }
    console.log(markdownTable(['student', 'learns from', 'top-1', 'by seed', 'took', 'time of the teacher'], lines))
  })
}

/** Training on fewer samples, as a box may have: some of them, at random. */
function withFewer(subject: TrainSubject, samples: number): TrainSubject {
  return {
    ...subject,
    async building() {
      const { datasetDir, split } = await subject.building()
      return { datasetDir, split: { ...split, training: Math.min(samples, split.training ?? samples) } }
    },
  }
}

function rowsOf(digest: string, updates: number): readonly Row[] {
  const take = { pass: 'take-student', digest }
  const drawn = (seed: number, width = 1) => ({ pass: 'scale-width', width, weights: { kind: 'random', seed } })
  const losses = {
    labels: { kind: 'cross-entropy' },
    'teacher and labels': { kind: 'distillation' },
    'teacher alone': { kind: 'distillation', mixing: 1 },
  } as const
  const training = (learnsFrom: keyof typeof losses, start: keyof typeof RATES, seed: number) => ({
    pass: 'fine-tune',
    loss: losses[learnsFrom],
    optimizer: { kind: 'adam' },
    learningRate: RATES[start],
    batch: BATCH,
    updates,
    evaluateEvery: Math.ceil(updates / 20),
    patience: 20,
    seed,
  })
  const row = (student: string, learnsFrom: keyof typeof losses, passes: (seed: number) => readonly object[]): Row => ({
    student,
    learnsFrom,
    recipe: (seed) => Recipe.parse({ passes: passes(seed), runtime: RUNTIME }),
  })
  const own = (...given: Parameters<typeof row>): Row => ({ ...row(...given), studentPath: STUDENT })
  const random = (from: keyof typeof losses): Row =>
    own('student, random', from, (seed) => [take, drawn(seed), training(from, 'random', seed)])
  const trained = (from: keyof typeof losses): Row =>
    own('student, trained', from, (seed) => [take, training(from, 'trained', seed)])
  return [
    random('labels'),
    random('teacher and labels'),
    trained('labels'),
    trained('teacher and labels'),
    row('half the teacher, random', 'teacher and labels', (seed) => [
      drawn(seed, 0.5),
      training('teacher and labels', 'random', seed),
    ]),
    random('teacher alone'),
  ]
}

function cellsOf(fitted: readonly Fitted[]): string[] {
  const meanOf = (of: (one: Fitted) => number): number => fitted.reduce((sum, one) => sum + of(one) / fitted.length, 0)
  const top1 = fitted.map(top1Of)
  return [
    percent(meanOf(top1Of)),
    `${percent(Math.min(...top1))} to ${percent(Math.max(...top1))}`,
    `${meanOf(({ elapsedMs }) => elapsedMs / 1000).toFixed(0)} s`,
    meanOf(({ latencyRatio }) => latencyRatio.ratio).toFixed(2),
  ]
}

function top1Of({ accuracy }: Fitted): number {
  return accuracy.variant.value
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`
}
