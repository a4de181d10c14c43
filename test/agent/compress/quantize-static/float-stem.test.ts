import { intsValue, intValue, type Model, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { prepareForQuantization } from '../../../../agent/compress/prepare-for-quantization.ts'
import { planQuantization } from '../../../../agent/compress/quantize-static/plan.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'
import { quantized } from '../support/static.ts'

const SAME = { pads: intsValue([1, 1, 1, 1]) }
const conv = (signature: string) => op('Conv', signature, SAME)
const STEM = randomTensor('stem', [8, 3, 3, 3], 1, 0.3)
const WIDE_STEM = randomTensor('stem', [8, 8, 3, 3], 1, 0.3)

function network(nodes: readonly Node[], stem: Tensor = STEM): Model {
  return modelOf({
    inputs: { x: ['batch', stem.dims[1] ?? 0, 6, 6] },
    outputs: ['y'],
    nodes,
    constants: [
      stem,
      randomTensor('w', [8, 8, 3, 3], 2, 0.3),
      randomTensor('d', [8, 1, 3, 3], 3, 0.3),
      randomTensor('p', [8, 8, 1, 1], 4, 0.3),
    ],
  })
}

function feedsFor(model: Model) {
  const type = model.graph.inputs[0]?.type
  const channels = Number(type?.kind === 'tensor' ? type.shape?.[1] : 0)
  return { x: float32([2, channels, 6, 6], randomValues(2 * channels * 36, 5)) }
}

async function executed(model: Model, floatStem: boolean) {
  return operatorCounts(await optimized((await quantized(model, feedsFor(model), { floatStem })).model))
}

const CHAIN = [conv('x stem -> a'), op('Relu', 'a -> r'), conv('r w -> b'), op('Relu', 'b -> s'), conv('s w -> y')]

/** The inner ones have 8 inputs an output: few enough for a stem. */
const CHAIN_OF_FOUR = [
  conv('x stem -> a'),
  op('Relu', 'a -> r'),
  op('Conv', 'r p -> b'),
  op('Relu', 'b -> s'),
  op('Conv', 's p -> c'),
  op('Conv', 'c p -> y'),
]

describe('a first convolution of few inputs', () => {
  it('stays in float, and so does the input', async () => {
    const model = network(CHAIN)
    expect(await executed(model, false)).toEqual({ QuantizeLinear: 1, QLinearConv: 3, DequantizeLinear: 1 })
    expect(await executed(model, true)).toEqual({
      Conv: 1,
      QuantizeLinear: 1,
      QLinearConv: 2,
      DequantizeLinear: 1,
    })
    const { notes } = await quantized(model, feedsFor(model), { floatStem: true })
    expect(notes.join()).toContain('few inputs an output')
  })

  it('makes the outputs more exact', async () => {
    const model = network(CHAIN)
    const feeds = feedsFor(model)
    const error = async (floatStem: boolean) => {
      const { model: integers } = await quantized(model, feeds, { floatStem })
      return relativeError((await run(model, feeds))['y'], (await run(integers, feeds))['y'])
    }
    expect(await error(true)).toBeLessThan(await error(false))
  })

  it('stays in float before a residual block', async () => {
    const model = network([
      conv('x stem -> a'),
      op('Relu', 'a -> r'),
      conv('r w -> b'),
      op('Add', 'b r -> c'),
      conv('c w -> y'),
    ])
    expect(await executed(model, true)).toEqual({
      Conv: 1,
      QuantizeLinear: 1,
      QLinearConv: 2,
      QLinearAdd: 1,
      DequantizeLinear: 1,
    })
  })

  it.each([
    ['with more inputs', network(CHAIN, WIDE_STEM), 3],
    ['that is all there is', network([conv('x stem -> y')]), 1],
    [
      'whose input another layer reads in integers',
      network([conv('x stem -> a'), conv('x stem -> b'), op('Add', 'a b -> c'), conv('c w -> y')]),
      3,
    ],
    [
      'inside the network, by channels',
      network([...CHAIN.slice(0, 4), op('Conv', 's d -> y', { ...SAME, group: intValue(8) })]),
      2,
    ],
  ])('or one %s is quantized as ever', async (_, model, convolutions) => {
    expect(await executed(model, true)).toMatchObject({ QLinearConv: convolutions })
  })

  describe('where layers are excluded', () => {
    const left = (model: Model, exclude: readonly string[]) =>
      planQuantization(prepareForQuantization(model).graph, exclude, true).layers.map(({ node }) => node.outputs[0])

    it('stays the only one that goes to float besides those', () => {
      const model = network(CHAIN_OF_FOUR)
      expect(left(model, [])).toEqual(['b', 'c', 'y'])
      expect(left(model, ['Conv:b'])).toEqual(['c', 'y'])
      expect(left(model, ['Conv:a', 'Conv:b'])).toEqual(['c', 'y'])
    })

    it('is none for what else reads the input and was no stem before', () => {
      const model = network([conv('x stem -> a'), conv('x stem -> b'), op('Add', 'a b -> c'), conv('c w -> y')])
      expect(left(model, ['Conv:a'])).toEqual(['b', 'y'])
    })

    it('is quantized where it alone is left', () => {
      expect(left(network(CHAIN), ['Conv:b', 'Conv:y'])).toEqual(['a'])
    })
  })
})
