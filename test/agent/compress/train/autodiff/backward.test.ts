import { floatTensor, graphValue, int64Tensor, intValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op, valueInfo } from '../../support/graphs.ts'
import { float32, operatorCounts, run } from '../../support/runtime.ts'
import { expectGradients } from '../support/finite-difference.ts'
import { gradientModel } from '../support/gradient-model.ts'

const three = floatTensor('three', [], Float32Array.of(3))

describe('backward', () => {
  it('adds up the gradients of a value with several readers', async () => {
    const nodes = [
      op('Exp', 'x -> a'),
      op('Tanh', 'a -> b'),
      op('Sigmoid', 'a -> c'),
      op('Sum', 'a b c x -> y'),
      op('Mul', 'y a -> z'),
    ]
    await expectGradients({ nodes, inputs: { x: [2, 3] } })
  })

  it('adds up the gradients of several losses, on a value that others read too', async () => {
    const nodes = [op('MatMul', 'x w -> feature'), op('Tanh', 'feature -> y')]
    await expectGradients({ nodes, inputs: { x: [2, 3], w: [3, 2] }, outputs: ['y', 'feature'] })
  })

  it('gives the gradient of a value within the graph', () => {
    const nodes = [op('Exp', 'x -> a'), op('Exp', 'a -> y')]
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes })
    const { gradients, model: derived } = gradientModel(model, { seeds: ['y'], targets: ['a'] })
    expect([...gradients.keys()]).toEqual(['a'])
    expect(operatorCounts(derived)).toEqual({ Exp: 2, Mul: 1 })
  })

  it('gives the seed itself where the target is what the loss looks at', () => {
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes: [op('Exp', 'x -> y')] })
    expect(gradientModel(model, { seeds: ['y'], targets: ['y'] }).gradients).toEqual(new Map([['y', 'seed/y']]))
  })

  it('visits only what lies between targets and seeds', () => {
    const nodes = [
      op('MatMul', 'x early -> a'),
      op('MatMul', 'a w -> b'),
      op('Relu', 'b -> y'),
      op('MatMul', 'y late -> z'),
    ]
    const square = (name: string) => floatTensor(name, [2, 2], Float32Array.of(1, 2, 3, 4))
    const model = modelOf({
      inputs: { x: [2, 2] },
      outputs: ['z'],
      nodes,
      constants: ['early', 'w', 'late'].map(square),
    })
    const { model: derived } = gradientModel(model, { seeds: ['y'], targets: ['w'] })
    expect(operatorCounts(derived)).toEqual({ MatMul: 2, Relu: 1, Greater: 1, Cast: 1, Mul: 1, Gemm: 1 })
  })

  it('says of a target that the loss does not depend on it', () => {
    const nodes = [op('Exp', 'x -> y'), op('Exp', 'other -> z')]
    const model = modelOf({ inputs: { x: [2], other: [2] }, outputs: ['y', 'z'], nodes })
    const { gradients, missing } = gradientModel(model, { seeds: ['y'], targets: ['x', 'other'] })
    expect([...gradients.keys()]).toEqual(['x'])
    expect(missing).toEqual(new Map([['other', 'the loss does not depend on it']]))
  })
})

describe('what has no gradient', () => {
  const withHardmax = (after: string): Model =>
    modelOf({
      inputs: { x: [2, 3], w: [2, 3], v: [2, 3] },
      outputs: ['y'],
      nodes: [
        op('Mul', 'x w -> a'),
        op('Hardmax', 'a -> b'),
        op('Mul', 'b v -> c'),
        op('Identity', after === 'a' ? 'a -> d' : 'three -> d'),
        op('Add', 'c d -> y'),
      ],
      constants: [three],
    })

  it('freezes what lies upstream and is named', () => {
    const { gradients, missing, frozen } = gradientModel(withHardmax(''), { seeds: ['y'], targets: ['x', 'w', 'v'] })
    expect([...gradients.keys()]).toEqual(['v'])
    const reason = 'the operator has no gradient here'
    expect(frozen.map(({ node, reason }) => [node.opType, reason])).toEqual([['Hardmax', reason]])
    const text = `upstream of Hardmax "Hardmax:b": ${reason}`
    expect(missing).toEqual(
      new Map([
        ['x', text],
        ['w', text],
      ]),
    )
  })

  it('leaves no part of a gradient, where another way leads around it', () => {
    const { gradients } = gradientModel(withHardmax('a'), { seeds: ['y'], targets: ['x', 'w', 'v'] })
    expect([...gradients.keys()]).toEqual(['v'])
  })

  it('does not matter where no target lies upstream', () => {
    const { frozen } = gradientModel(withHardmax(''), { seeds: ['y'], targets: ['v'] })
    expect(frozen).toEqual([])
  })

  it('does not matter where no loss lies downstream', () => {
    const { frozen } = gradientModel(withHardmax('a'), { seeds: ['a'], targets: ['w'] })
    expect(frozen).toEqual([])
  })

  it('may be a value that a branch captures', () => {
    const branch = {
      name: 'branch',
      nodes: [op('Exp', 'a -> inner')],
      initializers: new Map(),
      inputs: [],
      outputs: [valueInfo('inner', [2])],
      valueInfo: new Map(),
    }
    const nodes = [
      op('Exp', 'x -> a'),
      op('If', 'condition -> b', { then_branch: graphValue(branch), else_branch: graphValue(branch) }),
      op('Add', 'a b -> y'),
    ]
    const condition = { name: 'condition', dataType: 'BOOL', dims: [], data: Uint8Array.of(1) } as const
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes, constants: [condition] })
    const { gradients, missing } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(gradients.size).toBe(0)
    expect(missing.get('x')).toContain('If')
  })

  it('is a float of another precision', () => {
    const nodes = [op('Cast', 'x -> a', { to: intValue(11) }), op('Cast', 'a -> y', { to: intValue(1) })]
    const model = modelOf({ inputs: { x: [2] }, outputs: ['y'], nodes })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(frozen.map(({ reason }) => reason)).toEqual(['"a" is DOUBLE, not FLOAT'])
  })

  it('is a value whose shape is not fixed', () => {
    const model = modelOf({ inputs: { x: ['batch', 2] }, outputs: ['y'], nodes: [op('Exp', 'x -> y')] })
    const { frozen } = gradientModel(model, { seeds: ['y'], targets: ['x'] })
    expect(frozen.map(({ reason }) => reason)).toEqual(['the shape of "x" is not fixed'])
  })
})

describe('what carries none', () => {
  it('is a number made of a shape', async () => {
    const nodes = [
      op('Shape', 'x -> shape'),
      op('Gather', 'shape one -> length'),
      op('Cast', 'length -> float', { to: intValue(1) }),
      op('Div', 'x float -> y'),
    ]
    await expectGradients({ nodes, inputs: { x: [2, 3] }, constants: [int64Tensor('one', [], [1])] })
  })

  it('is a comparison', async () => {
    const nodes = [
      op('Greater', 'x three -> above'),
      op('Cast', 'above -> mask', { to: intValue(1) }),
      op('Mul', 'x mask -> y'),
    ]
    await expectGradients({ nodes, inputs: { x: [4, 10] }, constants: [three] })
  })

  it('is a value taken for a constant', async () => {
    const model = modelOf({
      inputs: { x: [2] },
      outputs: ['y'],
      nodes: [op('Exp', 'x -> scale'), op('Mul', 'x scale -> y')],
    })
    const { model: derived, gradients } = gradientModel(model, {
      seeds: ['y'],
      targets: ['x'],
      barriers: new Set(['scale']),
    })
    const ones = float32([2], Float32Array.of(1, 1))
    const outputs = await run(derived, { x: float32([2], Float32Array.of(0, 1)), 'seed/y': ones })
    const found = outputs[gradients.get('x') ?? '']?.data
    expect(Number(found?.[0])).toBeCloseTo(1)
    expect(Number(found?.[1])).toBeCloseTo(Math.E)
  })
})
