import { floatTensor, int64Tensor, intsValue, intValue, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

const OPERATORS = [
  'ReduceSum',
  'ReduceMean',
  'ReduceMax',
  'ReduceMin',
  'ReduceL1',
  'ReduceL2',
  'ReduceSumSquare',
  'ReduceLogSumExp',
]

const axesCases: readonly (readonly [string, number[] | undefined, 0 | 1])[] = [
  ['one axis', [1], 1],
  ['one axis, dropped', [1], 0],
  ['two axes', [0, 2], 1],
  ['from the end, dropped', [-1, -3], 0],
  ['all axes', undefined, 1],
  ['all axes, dropped', undefined, 0],
]

interface Form {
  readonly nodes: readonly Node[]
  readonly constants: readonly Tensor[]
  readonly opset: number
}

/** Axes became an input in opset 18, those of ReduceSum in 13. */
function reduction(opType: string, opset: number, axes: readonly number[] | undefined, keepdims: number): Form {
  const asInput = opset >= (opType === 'ReduceSum' ? 13 : 18)
  const attributes = { keepdims: intValue(keepdims) }
  if (axes === undefined) return { nodes: [op(opType, 'x -> y', attributes)], constants: [], opset }
  if (!asInput) return { nodes: [op(opType, 'x -> y', { ...attributes, axes: intsValue(axes) })], constants: [], opset }
  return {
    nodes: [op(opType, 'x axes -> y', attributes)],
    constants: [int64Tensor('axes', [axes.length], axes)],
    opset,
  }
}

describe.each(OPERATORS.flatMap((opType) => [13, 18].map((opset) => [opType, opset] as const)))(
  '%s of opset %i',
  (opType, opset) => {
    it.each(axesCases)('over %s', async (_, axes, keepdims) => {
      await expectGradients({ ...reduction(opType, opset, axes, keepdims), inputs: { x: [2, 3, 2] } })
    })
  },
)

describe('reductions', () => {
  it('of no axes hand their input on where the node says so', async () => {
    const nodes = [op('ReduceSum', 'x -> y', { noop_with_empty_axes: intValue(1) })]
    await expectGradients({ nodes, inputs: { x: [2, 3] } })
  })

  it.each(OPERATORS)('%s of a single number', async (opType) => {
    const model = { nodes: [op(opType, 'x -> y')], inputs: { x: floatTensor('x', [], Float32Array.of(-1.5)) } }
    await expectGradients(model)
  })

  it('that would square what no axis is reduced of are refused', () => {
    const nodes = [op('ReduceSumSquare', 'x -> y', { noop_with_empty_axes: intValue(1) })]
    const model = modelOf({ inputs: { x: [2, 3] }, outputs: ['y'], nodes, opset: 18 })
    expect(gradientModel(model, { seeds: ['y'], targets: ['x'] }).frozen).toHaveLength(1)
  })

  it('over computed axes are refused', () => {
    const nodes = [op('Shape', 'z -> axes'), op('ReduceSum', 'x axes -> y')]
    const model = modelOf({ inputs: { x: [2, 3], z: [1] }, outputs: ['y'], nodes })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(frozen).toHaveLength(1)
  })
})
