import { floatTensor, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { RowBatch, Rows } from '../../../../agent/compress/rounding/collect-rows.ts'
import type { LayerMatrix } from '../../../../agent/compress/rounding/layer-matrix.ts'
import { roundLayer } from '../../../../agent/compress/rounding/round-layer.ts'
import type { RoundingProblem } from '../../../../agent/compress/rounding/rounding-step.ts'
import { op, randomValues } from '../support/graphs.ts'
import { openSession } from '../support/runtime.ts'

const INPUTS = 10
const ROWS = 32
const STEP = 0.5

function matrixOf(groups: number, outputs: number): LayerMatrix {
  return {
    groups,
    inputs: INPUTS,
    outputs,
    placeOf: (group, input, output) => (group * INPUTS + input) * outputs + output,
  }
}

interface Scene {
  readonly problem: RoundingProblem
  readonly fractions: Float32Array
  readonly rows: Rows
}

/** Inputs that go up and down together, on which what one weight loses another can make good. */
function scene(groups: number, outputs: number, activation?: RoundingProblem['activation']): Scene {
  const matrix = matrixOf(groups, outputs)
  const count = groups * INPUTS * outputs
  const weights = randomValues(count, 7)
  const bias = randomValues(groups * outputs, 8)
  const down = weights.map((value) => Math.floor(value / STEP) * STEP)
  const problem = { matrix, down, gap: new Float32Array(count).fill(STEP), bias, activation }
  const batches = Array.from({ length: 8 }, (_, at): RowBatch => {
    const own = randomValues(groups * ROWS * INPUTS, 10 + at, 0.25)
    const common = randomValues(groups * ROWS, 30 + at)
    const inputs = own.map((value, index) => value + (common[Math.floor(index / INPUTS)] ?? 0))
    return { inputs, targets: outputsOf(problem, weights, inputs) }
  })
  const [heldOut, ...training] = batches
  if (heldOut === undefined) throw new Error('no batch')
  return {
    problem,
    fractions: weights.map((value, at) => (value - (down[at] ?? 0)) / STEP),
    rows: { size: ROWS, training, heldOut },
  }
}

function outputsOf({ matrix, bias, activation }: RoundingProblem, weights: Float32Array, inputs: Float32Array) {
  const { groups, outputs } = matrix
  return Float32Array.from({ length: groups * ROWS * outputs }, (_, at) => {
    const [output, row] = [at % outputs, Math.floor(at / outputs)]
    const group = Math.floor(row / ROWS)
    let sum = bias?.[group * outputs + output] ?? 0
    for (let input = 0; input < INPUTS; input++) {
      sum += (inputs[row * INPUTS + input] ?? 0) * (weights[(group * INPUTS + input) * outputs + output] ?? 0)
    }
    return activated({ activation }, sum)
  })
}

function activated({ activation }: Pick<RoundingProblem, 'activation'>, value: number): number {
  return activation === undefined ? value : Math.min(0.5, Math.max(0, value))
}

function errorOf({ problem }: Scene, batches: readonly RowBatch[], isUp: (index: number) => boolean): number {
  const weights = problem.down.map((value, at) => value + (isUp(at) ? STEP : 0))
  let error = 0
  for (const { inputs, targets } of batches) {
    for (const [at, value] of outputsOf(problem, weights, inputs).entries()) error += (value - (targets[at] ?? 0)) ** 2
  }
  return error
}

/** Of all roundings of the layer: one output's weights do not touch another's. */
function leastError({ problem, rows }: Scene): number {
  const { groups, outputs } = problem.matrix
  let least = 0
  for (let column = 0; column < groups * outputs; column++) {
    const [group, output] = [Math.floor(column / outputs), column % outputs]
    const placeOf = (input: number): number => (group * INPUTS + input) * outputs + output
    const errors = Array.from({ length: 2 ** INPUTS }, (_, bits) => {
      const weights = Array.from({ length: INPUTS }, (_, input) => {
        return (problem.down[placeOf(input)] ?? 0) + ((bits >> input) & 1) * STEP
      })
      let error = 0
      for (const { inputs, targets } of rows.training) {
        for (let row = group * ROWS; row < (group + 1) * ROWS; row++) {
          let sum = problem.bias?.[column] ?? 0
          for (const [input, weight] of weights.entries()) sum += (inputs[row * INPUTS + input] ?? 0) * weight
          error += (activated(problem, sum) - (targets[row * outputs + output] ?? 0)) ** 2
        }
      }
      return error
    })
    least += Math.min(...errors)
  }
  return least
}

const bound = (name: string, value: number): Tensor => floatTensor(name, [], Float32Array.of(value))
const CLIP = { node: op('Clip', 'y low high -> z'), constants: [bound('low', 0), bound('high', 0.5)] }
const ports = { openSession, threads: 1, signal: new AbortController().signal }
const nearestOf =
  ({ fractions }: Scene) =>
  (index: number) =>
    (fractions[index] ?? 0) >= 0.5

describe('rounding one layer', () => {
  it.each([
    ['one product', 1, 3, undefined],
    ['a product for each group', 3, 1, undefined],
    ['a Clip after it', 1, 3, CLIP],
  ] as const)('comes close to the best of all roundings: %s', async (_, groups, outputs, activation) => {
    const given = scene(groups, outputs, activation)

    const { isUp, errorRatio } = await roundLayer(
      given.problem,
      given.fractions,
      given.rows,
      { iterations: 1000 },
      ports,
    )

    const found = errorOf(given, given.rows.training, isUp)
    expect(found).toBeLessThan(0.85 * errorOf(given, given.rows.training, nearestOf(given)))
    expect(found).toBeLessThanOrEqual(1.15 * leastError(given))
    const heldOut = (which: (index: number) => boolean) => errorOf(given, [given.rows.heldOut], which)
    expect(errorRatio).toBeCloseTo(heldOut(isUp) / heldOut(nearestOf(given)), 3)
    expect(errorRatio).toBeLessThan(0.85)
  })

  it('stays at nearest where no rounding does better', async () => {
    const given = scene(1, 2)
    const exact = given.problem.down
    const rows = [given.rows.heldOut, ...given.rows.training].map(({ inputs }) => ({
      inputs,
      targets: outputsOf(given.problem, exact, inputs),
    }))
    const [heldOut, ...training] = rows
    if (heldOut === undefined) throw new Error('no batch')

    const fractions = new Float32Array(given.fractions.length)
    const { isUp, errorRatio } = await roundLayer(
      given.problem,
      fractions,
      { size: ROWS, training, heldOut },
      { iterations: 50 },
      ports,
    )

    expect(fractions.some((_, index) => isUp(index))).toBe(false)
    expect(errorRatio).toBe(1)
  })

  it('names what is not finite', async () => {
    const given = scene(1, 1)
    for (const { targets } of given.rows.training) targets.fill(Number.NaN)

    await expect(
      roundLayer(given.problem, given.fractions, given.rows, { iterations: 10 }, ports),
    ).rejects.toMatchObject({ code: 'PASS_FAILED', message: expect.stringContaining('not finite') })
  })

  it('ends when it is told to', async () => {
    const given = scene(1, 1)
    const controller = new AbortController()
    let seen = 0

    const running = roundLayer(
      given.problem,
      given.fractions,
      given.rows,
      { iterations: 1000 },
      {
        ...ports,
        signal: controller.signal,
        onIteration: (done) => {
          seen = done
          if (done === 3) controller.abort(new Error('enough'))
        },
      },
    )

    await expect(running).rejects.toThrow('enough')
    expect(seen).toBe(3)
  })
})
