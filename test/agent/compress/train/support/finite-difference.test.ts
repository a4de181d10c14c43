import { describe, expect, it } from 'vitest'
import type { GradientRule } from '../../../../../agent/compress/train/autodiff/gradient-rule.ts'
import { op } from '../../support/graphs.ts'
import { expectGradients } from './finite-difference.ts'

const exponential =
  (factor: number): GradientRule =>
  ({ node, outputGradients: [g = ''], emit }) => [
    emit.add('Mul', [emit.add('Mul', [g, node.outputs[0] ?? '']), emit.scalar(factor)]),
  ]

const check = (rule: GradientRule): Promise<unknown> =>
  expectGradients({ nodes: [op('Exp', 'x -> y')], inputs: { x: [2, 3] }, rules: new Map([['Exp', rule]]) })

describe('the check by finite differences', () => {
  it('passes a right rule', async () => {
    await check(exponential(1))
  })

  it('finds an error of half a percent', async () => {
    await expect(check(exponential(1.005))).rejects.toThrow(/by differences/)
  })

  it('finds a gradient of another shape', async () => {
    const flattened: GradientRule = (request) => {
      const [gradient = ''] = exponential(1)(request) as readonly string[]
      return [request.emit.reshape(gradient, [6])]
    }
    await expect(check(flattened)).rejects.toThrow(/shape of the gradient/)
  })

  it('finds a gradient that is left out', async () => {
    await expect(check(() => [undefined])).rejects.toThrow(/without a gradient/)
  })
})
