import { asFloat32, encodeModel, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { learningUnit } from '../../../../../agent/compress/train/quantized/learned-numbers.ts'
import { quantizationAware } from '../../../../../agent/compress/train/quantized/quantization-aware.ts'
import type { Numbers } from '../../../../../agent/compress/train/run-step.ts'
import { withWeights } from '../../../../../agent/compress/train/with-weights.ts'
import { modelOf, op, randomTensor, randomValues, valueInfo } from '../../support/graphs.ts'
import { float32, openSession, run } from '../../support/runtime.ts'
import { gradientModel } from '../support/gradient-model.ts'

const [ROWS, INPUTS, OUTPUTS] = [7, 6, 5]
const LAYER = modelOf({
  inputs: { x: [ROWS, INPUTS] },
  outputs: ['y'],
  nodes: [op('Gemm', 'x w bias -> y')],
  constants: [randomTensor('w', [INPUTS, OUTPUTS], 1), randomTensor('bias', [OUTPUTS], 2)],
})
const WEIGHTS = [...asFloat32(LAYER.graph.initializers.get('w') ?? randomTensor('w', [], 1))]
const X = randomValues(ROWS * INPUTS, 3, 2)
/** Of y. */
const SEED = randomValues(ROWS * OUTPUTS, 4)
/** Values beyond it are cut off. */
const RANGES = new Map([['x', { min: -1.1, max: 1.5 }]])
const LEARNED = {
  scope: { kind: 'all' },
  optimizer: 'adam',
  weightScales: 'learned',
  activationRanges: 'learned',
} as const

function aware(perChannel: boolean) {
  const weights = { type: 'int8', perChannel, reducedRange: true } as const
  return quantizationAware(LAYER, { activations: 'uint8', weights, exclude: [] }, RANGES, LEARNED)
}

/** Scales smaller than they start with, so that weights are cut off as well, and a zero point that is not whole. */
function changesOf(perChannel: boolean): Numbers {
  const { trainee } = aware(perChannel)
  return new Map(
    trainee.trainable
      .filter(({ name }) => name.includes('change'))
      .map(({ name, dims }) => [
        name,
        name.includes('offset')
          ? Float32Array.of(0.0312)
          : new Float32Array(dims[0] ?? 1).map((_, at) => -0.3 - at / 50),
      ]),
  )
}

/** What `pair` gives where rounding is a shift that stays as it was at `at`: then it has a derivative. */
function withFrozenRounding(values: readonly number[], at: readonly Step[], integers: { min: number; max: number }) {
  return (steps: readonly Step[]): readonly number[] =>
    values.map((value, index) => {
      const [before, now] = [at[index] ?? NONE, steps[index] ?? NONE]
      const zeroPoint = Math.round(before.zero)
      const integer = Math.round(value / before.scale) + zeroPoint
      const held = Math.min(integers.max, Math.max(integers.min, integer))
      if (held !== integer) return (held - (now.zero + zeroPoint - before.zero)) * now.scale
      return value + (integer - zeroPoint - value / before.scale) * now.scale
    })
}

interface Step {
  readonly scale: number
  readonly zero: number
}
const NONE: Step = { scale: 1, zero: 0 }

describe.each([true, false])('learned scales, one a channel: %s', (perChannel) => {
  it('get the gradient of a learned step size, and zero points that of a learned offset', async () => {
    const changes = changesOf(perChannel)
    const { trainee } = aware(perChannel)
    const model = withWeights(trainee.model, changes)
    const constant = (name: string): Float32Array =>
      asFloat32(model.graph.initializers.get(name) ?? randomTensor(name, [], 1))
    const number = (of: string, change: ArrayLike<number>, at = 0): number => {
      const [start, unit] = [constant(`${of}/start`), constant(`${of}/unit`)]
      return (start[at] ?? 0) + (unit[at] ?? 0) * (change[at] ?? 0)
    }
    const channelOf = (index: number): number => (perChannel ? index % OUTPUTS : 0)
    const stepsOfX = (given: Numbers): readonly Step[] =>
      Array.from(X, () => ({
        scale: number('x/scale', given.get('x/scale/change') ?? []),
        zero: number('x/offset', given.get('x/offset/change') ?? []),
      }))
    const stepsOfW = (given: Numbers): readonly Step[] =>
      WEIGHTS.map((_, index) => ({
        scale: number('w/scale', given.get('w/scale/change') ?? [], channelOf(index)),
        zero: 0,
      }))
    const xAt = withFrozenRounding([...X], stepsOfX(changes), { min: 0, max: 255 })
    const wAt = withFrozenRounding(WEIGHTS, stepsOfW(changes), { min: -64, max: 64 })
    const lossAt = (given: Numbers): number => {
      const [x, w] = [xAt(stepsOfX(given)), wAt(stepsOfW(given))]
      let loss = 0
      for (let row = 0; row < ROWS; row++) {
        for (let output = 0; output < OUTPUTS; output++) {
          let y = 0
          for (let input = 0; input < INPUTS; input++) {
            y += (x[row * INPUTS + input] ?? 0) * (w[input * OUTPUTS + output] ?? 0)
          }
          loss += y * (SEED[row * OUTPUTS + output] ?? 0)
        }
      }
      return loss
    }

    const targets = [...changes.keys()]
    expect(targets.toSorted()).toEqual(['w/scale/change', 'x/offset/change', 'x/scale/change'])
    const options = { seeds: ['y'], targets, ...(trainee.barriers && { barriers: trainee.barriers }) }
    const { model: derived, gradients, missing } = gradientModel(model, options)
    expect(missing.size).toBe(0)
    const outputs = await run(derived, {
      x: float32([ROWS, INPUTS], X),
      'seed/y': float32([ROWS, OUTPUTS], SEED),
    })
    for (const [name, change] of changes) {
      const gradient = outputs[gradients.get(name) ?? '']?.data
      for (const at of change.keys()) {
        const moved = (distance: number): Numbers =>
          new Map([...changes, [name, Float64Array.from(change, (value, i) => value + (i === at ? distance : 0))]] as [
            string,
            Float32Array,
          ][])
        const expected = (lossAt(moved(1e-4)) - lossAt(moved(-1e-4))) / 2e-4
        expect(Math.abs(expected), `${name}[${at}]`).toBeGreaterThan(0.05)
        expect(Number(gradient?.[at]) / expected, `${name}[${at}]`).toBeCloseTo(1, 2)
      }
    }
  })

  it('are exported bit for bit', async () => {
    const changes = changesOf(perChannel)
    const { trainee, exported } = aware(perChannel)
    const seen = await scalesComputed(withWeights(trainee.model, changes))
    const written = scalesWritten(exported(changes))
    expect(seen).toHaveLength(perChannel ? 1 + OUTPUTS : 2)
    expect(written).toEqual(seen)
    expect(written).not.toEqual(scalesWritten(exported(new Map())))
  })
})

/** Of all DequantizeLinear nodes, as the graph computes them. */
async function scalesComputed(model: Model): Promise<readonly number[]> {
  const names = scaleNames(model)
  const outputs = names.map((name) => valueInfo(name, []))
  const graph = { ...model.graph, outputs }
  const session = await openSession(encodeModel({ ...model, graph }), { graphOptimization: 'disabled', threads: 1 })
  try {
    const found = await session.run({ x: float32([ROWS, INPUTS], X) })
    return names.flatMap((name) => Array.from(found[name]?.data ?? [], Number)).toSorted((a, b) => a - b)
  } finally {
    await session.release()
  }
}

/** The same in a quantized model, but for those of biases. */
function scalesWritten(model: Model): readonly number[] {
  return scaleNames(model)
    .flatMap((name) => [...asFloat32(model.graph.initializers.get(name) ?? randomTensor(name, [], 1))])
    .toSorted((a, b) => a - b)
}

function scaleNames({ graph }: Model): readonly string[] {
  const dequantizing = graph.nodes.filter(({ opType }) => opType === 'DequantizeLinear')
  const isBias = (value = ''): boolean => graph.initializers.get(value)?.dataType === 'INT32'
  return [...new Set(dequantizing.flatMap(({ inputs: [value, scale = ''] }) => (isBias(value) ? [] : [scale])))]
}

describe('the unit in which scales are learned', () => {
  it('divides the gradient by √(elements · levels) for SGD, which a unit meets twice', () => {
    expect(learningUnit('sgd', 0.01, 1024, 127) ** 2).toBeCloseTo(1 / Math.sqrt(1024 * 127), 9)
  })

  it('is the scale itself for Adam', () => {
    expect(learningUnit('adam', 0.01, 1024, 127)).toBe(0.01)
  })
})
