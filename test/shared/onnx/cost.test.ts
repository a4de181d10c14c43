import { describe, expect, it } from 'vitest'
import { bindDimensions, graphValue, loadModel, modelCost, node } from '../../../shared/onnx/index.ts'
import { realModelPath } from './real-models.ts'
import { add, branchOf, relu, smallModel, weight } from './small-model.ts'

/** MACs as published with the models or, for those from papers, in the usual tables. */
const published = [
  ['fashion-mobilenetv2', 'batch', 18.1e6],
  ['fashion-resnet14', 'batch', 56.7e6],
  ['mobilenet-v2', 'N', 300.8e6],
  ['mlperf-kws-dscnn', 'N', 2.66e6],
  ['mlperf-vww', 'N', 7.49e6],
  ['onnx-light/light-resnet50', undefined, 4.09e9],
  ['onnx-light/light-densenet121', undefined, 2.83e9],
] as const

describe('modelCost', () => {
  it.each(published.filter(([name]) => realModelPath(name) !== undefined))(
    'counts the MACs of %s as others do',
    async (name, batch, macs) => {
      const model = await loadModel(realModelPath(name) ?? '')
      const bound = bindDimensions(model, batch === undefined ? {} : { [batch]: 1 })

      const cost = modelCost(bound)

      expect(cost.unknown).toEqual([])
      expect(cost.macs / macs).toBeCloseTo(1, 2)
      expect(cost.nodes.reduce((total, entry) => total + entry.macs, 0)).toBe(cost.macs)
    },
  )

  it('counts by hand', () => {
    const gemm = node({ opType: 'Gemm', inputs: ['x', 'w'], outputs: ['a'] })
    const w = { ...weight('w', 1, 2, 3, 4, 5, 6), dims: [3, 2] }
    const model = smallModel([gemm, add('a', 'a', 'b'), add('b', 'b', 'y')], ['y'], [w])

    const cost = modelCost(bindDimensions(model, { batch: 4 }))

    expect(cost).toMatchObject({ macs: 4 * 2 * 3, outputElements: 3 * 8, weightBytes: 24, activationBytes: 3 * 32 })
    expect(cost.nodes.map(({ macs, weightBytes }) => [macs, weightBytes])).toEqual([
      [24, 24],
      [0, 0],
      [0, 0],
    ])
  })

  it('counts a shared weight once in the total', () => {
    const model = smallModel([add('x', 'w', 'a'), add('a', 'w', 'y')], ['y'], [weight('w', 1, 2, 3)])

    const cost = modelCost(bindDimensions(model, { batch: 1 }))

    expect([cost.weightBytes, ...cost.nodes.map((entry) => entry.weightBytes)]).toEqual([12, 12, 12])
  })

  it('names the nodes it cannot count while a dimension is open', () => {
    const { unknown, activationBytes } = modelCost(smallModel([relu('x', 'y')], ['y']))

    expect(unknown.map((entry) => entry.opType)).toEqual(['Relu'])
    expect(activationBytes).toBe(0)
  })

  it('takes the costlier branch of an If', () => {
    const heavy = branchOf('x', 'heavy')
    const gemm = node({ opType: 'Gemm', inputs: ['x', 'w'], outputs: ['heavy'] })
    const square = { ...weight('w', ...new Array<number>(9).fill(1)), dims: [3, 3] }
    const choice = node({
      opType: 'If',
      inputs: ['c'],
      outputs: ['y'],
      attributes: {
        then_branch: graphValue(branchOf('x', 'light')),
        else_branch: graphValue({ ...heavy, nodes: [gemm], initializers: new Map([['w', square]]) }),
      },
    })

    const cost = modelCost(bindDimensions(smallModel([choice], ['y']), { batch: 2 }))

    expect(cost).toMatchObject({ macs: 18, weightBytes: 36, unknown: [] })
  })
})
