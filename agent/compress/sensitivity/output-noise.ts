import { addSqnr, EMPTY_SQNR, type SqnrSums, sqnrDb } from '@edgefit/shared/stats'
import type { OutputTensor } from '../runtime-port.ts'

type Outputs = Readonly<Record<string, OutputTensor>>

/** Float outputs of one sample by name, in the order of the model. */
export type FloatOutputs = ReadonlyMap<string, Float32Array>

/** Copies, so that the runtime's memory can go. Outputs that are not float32 cannot be noisy, and are left out. */
export function floatOutputs(outputs: Outputs): FloatOutputs {
  return new Map(
    Object.entries(outputs).flatMap(([name, { data }]) =>
      data instanceof Float32Array ? [[name, Float32Array.from(data)] as const] : [],
    ),
  )
}

export function outputBytes(outputs: FloatOutputs): number {
  return [...outputs.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
}

/** How far outputs are from those of the float model. */
export interface OutputNoise {
  /** Noise power over signal power of the worst output; at most 1e20, for outputs that cannot be compared. */
  readonly noiseRatio: number
  /** The same in decibels: 10 log10 of its reciprocal, from -200 to 200. */
  readonly sqnrDb: number
  /** Mean Kullback-Leibler divergence KL(float ‖ given) of the class probabilities, in nats; null where there are none. */
  readonly klDivergence: number | null
}

/** Stands for outputs that are equal to the last bit, and with the other sign for those that have nothing in common. */
const EQUAL_DB = 200
const NOTHING_IN_COMMON = 10 ** (EQUAL_DB / 10)

/** Sums up over samples: memory does not grow with them. `classes`: the first output holds class scores. */
export function noiseMeter(classes: boolean): {
  add(expected: FloatOutputs, given: FloatOutputs): void
  noise(): OutputNoise
} {
  const sums = new Map<string, SqnrSums>()
  let comparable = true
  let divergence = 0
  let samples = 0
  return {
    add(expected, given) {
      samples += 1
      for (const [index, [name, reference]] of [...expected].entries()) {
        const actual = given.get(name)
        if (actual?.length !== reference.length) {
          comparable = false
          continue
        }
        sums.set(name, addSqnr(sums.get(name) ?? EMPTY_SQNR, reference, actual))
        if (classes && index === 0) divergence += klDivergence(probabilities(reference), probabilities(actual))
      }
    },
    noise() {
      const ratios = [...sums.values()].map(({ signal, noise }) => (noise === 0 ? 0 : noise / signal))
      const worst = comparable ? Math.max(0, ...ratios) : NOTHING_IN_COMMON
      const noiseRatio = Number.isNaN(worst) ? NOTHING_IN_COMMON : Math.min(NOTHING_IN_COMMON, worst)
      const db = Math.min(EQUAL_DB, sqnrDb({ signal: 1, noise: noiseRatio }))
      return { noiseRatio, sqnrDb: db, klDivergence: classes ? divergence / samples : null }
    },
  }
}

/** Softmax of logits; scores that already are probabilities stay what they are. */
function probabilities(scores: Float32Array): Float64Array {
  const sum = scores.reduce((total, score) => total + score, 0)
  if (Math.abs(sum - 1) < 1e-3 && scores.every((score) => score >= 0)) return Float64Array.from(scores)
  const largest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = Float64Array.from(scores, (score) => Math.exp(score - largest))
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / total)
}

/** A class that is given up costs this and no more: the logarithm of 0 would drown all others. */
const SMALLEST_PROBABILITY = 1e-12

function klDivergence(expected: Float64Array, given: Float64Array): number {
  let sum = 0
  for (const [index, p] of expected.entries()) {
    const q = given[index] ?? 0
    if (Number.isNaN(p + q)) return -Math.log(SMALLEST_PROBABILITY)
    if (p > 0) sum += p * Math.log(p / Math.max(q, SMALLEST_PROBABILITY))
  }
  // Below 0 only by rounding.
  return Math.max(0, sum)
}
