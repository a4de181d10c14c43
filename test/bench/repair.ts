/** What calibration methods and accuracy repair win back, in points of top-1 against fp32 on the same samples. */
import { parseArgs } from 'node:util'
import type { Pass } from '@edgefit/shared/model'
import { encodeModel, loadModel, type Model } from '@edgefit/shared/onnx'
import { seededRandom, shuffled } from '@edgefit/shared/stats'
import { buildVariant, type CalibrationSource } from '../../agent/compress/index.ts'
import { batchOf } from '../agent/compress/support/real-models.ts'
import { openSession } from '../agent/compress/support/runtime.ts'
import { RUNTIME, type StaticPass, staticPass } from './ptq-recipes.ts'
import { ptqSubjects, type Subject } from './ptq-subjects.ts'

const SAMPLES = 200
const FOLD: Pass = { pass: 'fold-batch-norm' }
const BIAS: Pass = { pass: 'correct-bias', samples: 100 }
const ADAPTIVE = { method: 'adaptive', samples: 128, iterations: 300, seed: 0 } as const

type WeightsPass = Extract<Pass, { pass: 'quantize-weights' }>

/** Name of a column to passes. */
function variants(): ReadonlyMap<string, readonly Pass[]> {
  const tensor = staticPass({ method: 'minmax', samples: SAMPLES }, false)
  const channel = (method: StaticPass['calibration']): readonly Pass[] => [FOLD, staticPass(method)]
  const keep: Pass = { pass: 'equalize', clips: 'keep' }
  const replace: Pass = { pass: 'equalize', clips: 'replace' }
  const samples = SAMPLES
  return new Map([
    ['per tensor', [FOLD, tensor]],
    ['+ equalize', [FOLD, keep, tensor]],
    ['+ equalize, no clips', [FOLD, replace, tensor]],
    ['+ correct-bias', [FOLD, tensor, BIAS]],
    ['+ both', [FOLD, keep, tensor, BIAS]],
    ['+ both, no clips', [FOLD, replace, tensor, BIAS]],
    ['+ smooth-quant', [FOLD, { pass: 'smooth-quant', alpha: 0.5, samples: SAMPLES }, tensor]],
    ['fp32 equalized, no clips', [FOLD, replace]],
    ['per channel, minmax', channel({ method: 'minmax', samples })],
    ['moving average', channel({ method: 'moving-average', constant: 0.01, samples })],
    ['percentile 99.99', channel({ method: 'percentile', percentile: 99.99, samples })],
    ['percentile 99.9', channel({ method: 'percentile', percentile: 99.9, samples })],
    ['entropy', channel({ method: 'entropy', samples })],
    ['mse', channel({ method: 'mse', samples })],
    ['mse + correct-bias', [...channel({ method: 'mse', samples }), BIAS]],
    ...roundingVariants(),
  ])
}

/** Weights rounded to nearest and adaptively, with biases corrected and without, on finer and on coarser steps. */
function roundingVariants(): readonly (readonly [string, readonly Pass[]])[] {
  const calibration = { method: 'minmax', samples: SAMPLES } as const
  const bits7 = (perChannel: boolean): StaticPass => ({
    ...staticPass(calibration, perChannel),
    weights: { type: 'int8', perChannel, reducedRange: true },
  })
  const grids: readonly (readonly [string, StaticPass])[] = [
    ['per tensor', staticPass(calibration, false)],
    ['7 bits per tensor', bits7(false)],
    ['per channel', staticPass(calibration)],
    ['7 bits per channel', bits7(true)],
  ]
  const few = (blockSize: 32 | 128): WeightsPass => ({
    pass: 'quantize-weights',
    bits: 4,
    blockSize,
    symmetric: true,
    form: 'matmulnbits',
    exclude: [],
  })
  return [
    ...grids.flatMap(([grid, pass]): readonly (readonly [string, readonly Pass[]])[] => [
      [`rounding, ${grid}: nearest`, [FOLD, pass]],
      [`rounding, ${grid}: + correct-bias`, [FOLD, pass, BIAS]],
      [`rounding, ${grid}: adaptive`, [FOLD, { ...pass, rounding: ADAPTIVE }]],
      [`rounding, ${grid}: + both`, [FOLD, { ...pass, rounding: ADAPTIVE }, BIAS]],
    ]),
    ...([32, 128] as const).flatMap((blockSize): readonly (readonly [string, readonly Pass[]])[] => [
      [`rounding, 4 bits in ${blockSize}s: nearest`, [few(blockSize)]],
      [`rounding, 4 bits in ${blockSize}s: adaptive`, [{ ...few(blockSize), rounding: ADAPTIVE }]],
    ]),
  ]
}

interface LoadedSubject extends Subject {
  readonly source: Model
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: '' },
      variant: { type: 'string', default: '' },
      seeds: { type: 'string', default: '3' },
    },
  })
  const subjects = ptqSubjects().filter(({ name }) => name.includes(values.only))
  const chosen = await Promise.all(
    subjects.map(
      async (subject): Promise<LoadedSubject> => ({ ...subject, source: await loadModel(subject.modelPath) }),
    ),
  )
  const header = ['variant', ...chosen.map(({ name }) => name)]
  const floats = await Promise.all(chosen.map(async (subject) => (await judge(subject.source, subject)).right))
  const rows = [['fp32 top-1, %', ...floats.map((right) => percent(right).toFixed(2))]]
  for (const [name, passes] of variants()) {
    if (!name.includes(values.variant)) continue
    const cells: string[] = []
    for (const [index, subject] of chosen.entries()) {
      const found = await cell(subject, passes, floats[index] ?? new Uint8Array(), Number(values.seeds))
      process.stderr.write(`${name}, ${subject.name}: ${found}\n`)
      cells.push(found)
    }
    rows.push([name, ...cells])
  }
  console.log(
    'Points of top-1 against fp32, mean (lowest to highest of the seeds); CPU seconds to build; int8 logits SQNR.\n',
  )
  console.log([header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n'))
}

async function cell(
  subject: LoadedSubject,
  passes: readonly Pass[],
  float: Uint8Array,
  seeds: number,
): Promise<string> {
  const points: number[] = []
  let seconds = 0
  let sqnr = 0
  const reference = await judge(subject.source, subject)
  for (let seed = 1; seed <= seeds; seed++) {
    const started = process.cpuUsage()
    const { model } = await buildVariant({
      source: subject.source,
      recipe: {
        schemaVersion: 1,
        passes: [...passes],
        runtime: RUNTIME,
      },
      calibration: drawn(subject, seed),
      openSession,
      threads: 1,
      signal: AbortSignal.timeout(20 * 60_000),
    })
    const { user, system } = process.cpuUsage(started)
    seconds += (user + system) / 1e6 / seeds
    const judged = await judge(model, subject)
    points.push(percent(judged.right) - percent(float))
    sqnr += sqnrDb(reference.logits, judged.logits) / seeds
  }
  const mean = points.reduce((sum, value) => sum + value, 0) / points.length
  const spread = `${Math.min(...points).toFixed(2)} to ${Math.max(...points).toFixed(2)}`
  return `${mean.toFixed(2)} (${spread}); ${seconds.toFixed(1)} s; ${sqnr.toFixed(1)} dB`
}

function drawn({ calibration, pool }: Subject, seed: number): CalibrationSource {
  const order = shuffled(Array(pool).keys(), seededRandom(seed))
  return {
    count: SAMPLES,
    batch: ([at = 0]) => {
      const row = order[at] ?? 0
      return batchOf(calibration, row, row + 1)
    },
  }
}

interface Judged {
  /** 1 where the largest logit is that of the label. */
  readonly right: Uint8Array
  readonly logits: Float32Array
}

async function judge(model: Model, { evaluation, from, to }: Subject): Promise<Judged> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads: 1 })
  const right = new Uint8Array(to - from)
  const logits: number[] = []
  for (let start = from; start < to; start += 250) {
    const end = Math.min(to, start + 250)
    const [output] = Object.values(await session.run(batchOf(evaluation, start, end)))
    const classes = output?.dims[1] ?? 1
    const scores = Array.from(output?.data ?? [], Number)
    for (let sample = start; sample < end; sample++) {
      const own = scores.slice((sample - start) * classes, (sample - start + 1) * classes)
      right[sample - from] = own.indexOf(Math.max(...own)) === evaluation.labels[sample] ? 1 : 0
    }
    logits.push(...scores)
  }
  await session.release()
  return { right, logits: Float32Array.from(logits) }
}

function percent(right: Uint8Array): number {
  return (100 * right.reduce((sum, value) => sum + value, 0)) / right.length
}

function sqnrDb(expected: Float32Array, actual: Float32Array): number {
  let signal = 0
  let noise = 0
  for (const [index, value] of expected.entries()) {
    signal += value ** 2
    noise += (value - (actual[index] ?? 0)) ** 2
  }
  return 10 * Math.log10(signal / noise)
}
