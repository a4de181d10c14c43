import { type Attribute, intsValue, intValue, stringValue } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op } from '../../../support/graphs.ts'
import { expectGradients } from '../../support/finite-difference.ts'
import { gradientModel } from '../../support/gradient-model.ts'

interface Case {
  readonly name: string
  readonly x: readonly number[]
  readonly opset?: number
  readonly attributes: Readonly<Record<string, Attribute>>
}

const kernel = (...values: number[]) => ({ kernel_shape: intsValue(values) })
const strides = (...values: number[]) => ({ strides: intsValue(values) })
const pads = (...values: number[]) => ({ pads: intsValue(values) })
const dilations = (...values: number[]) => ({ dilations: intsValue(values) })
const autoPad = (value: string) => ({ auto_pad: stringValue(value) })
const ceil = { ceil_mode: intValue(1) }

const windows: readonly Case[] = [
  { name: 'windows side by side', x: [2, 3, 4, 6], attributes: { ...kernel(2, 2), ...strides(2, 2) } },
  {
    name: 'windows that overlap',
    x: [2, 3, 5, 6],
    attributes: { ...kernel(3, 3), ...strides(2, 1), ...pads(1, 1, 1, 1) },
  },
  { name: 'an end under no window', x: [2, 2, 5, 5], attributes: { ...kernel(2, 2), ...strides(2, 3) } },
  { name: 'ceil_mode', x: [2, 2, 6, 7], attributes: { ...kernel(3, 3), ...strides(2, 2), ...ceil } },
  {
    name: 'ceil_mode and padding',
    x: [2, 2, 6, 6],
    attributes: { ...kernel(3, 3), ...strides(2, 2), ...pads(1, 0, 1, 1), ...ceil },
  },
  {
    name: 'auto_pad SAME_UPPER',
    x: [1, 2, 5, 6],
    attributes: { ...kernel(2, 3), ...strides(2, 1), ...autoPad('SAME_UPPER') },
  },
  {
    name: 'auto_pad SAME_LOWER',
    x: [1, 2, 5, 6],
    attributes: { ...kernel(2, 3), ...strides(2, 1), ...autoPad('SAME_LOWER') },
  },
  { name: 'auto_pad VALID', x: [1, 2, 5, 6], attributes: { ...kernel(2, 3), ...autoPad('VALID') } },
  {
    name: 'dilations',
    x: [1, 2, 6, 7],
    opset: 19,
    attributes: { ...kernel(2, 3), ...dilations(2, 1), ...pads(0, 1, 1, 0) },
  },
  { name: 'one axis', x: [2, 3, 9], attributes: { ...kernel(3), ...strides(2), ...pads(1, 1) } },
  { name: 'three axes', x: [1, 2, 3, 4, 3], attributes: { ...kernel(2, 2, 2), ...strides(1, 2, 1) } },
]

/** Neighbours in the order of values are further apart than an element is moved, so that no window changes its mind. */
const step = 0.02

describe('the gradients of MaxPool', () => {
  it.each(windows)('with $name', async ({ x, attributes, opset = 17 }) => {
    await expectGradients({ nodes: [op('MaxPool', 'x -> y', attributes)], inputs: { x }, opset, step })
  })

  it('uses the indices that the node gives already', async () => {
    const nodes = [op('MaxPool', 'x -> y indices', { ...kernel(2, 2), ...strides(2, 2) })]

    await expectGradients({ nodes, inputs: { x: [1, 2, 4, 4] }, outputs: ['y'], step })
  })

  it('refuses indices in another order', () => {
    const forward = modelOf({
      inputs: { x: [1, 1, 4, 4] },
      outputs: ['y'],
      nodes: [op('MaxPool', 'x -> y', { ...kernel(2, 2), storage_order: intValue(1) })],
    })

    const { missing } = gradientModel(forward, { seeds: ['y'], targets: ['x'] })

    expect(missing.get('x')).toContain('storage_order')
  })
})

describe('the gradients of AveragePool', () => {
  const cases = windows.flatMap(({ attributes, ...given }) => [
    { ...given, attributes, counting: 'without padding' },
    { ...given, attributes: { ...attributes, count_include_pad: intValue(1) }, counting: 'with padding' },
  ])

  it.each(cases)('with $name, counting $counting', async ({ x, attributes, opset = 17 }) => {
    await expectGradients({
      nodes: [op('AveragePool', 'x -> y', attributes)],
      inputs: { x },
      opset,
      step: 0.25,
      tolerance: 1e-4,
    })
  })
})

describe('the gradients of pools over everything', () => {
  it.each([
    ['GlobalAveragePool', [2, 3, 4, 5]],
    ['GlobalAveragePool', [2, 3, 7]],
    ['GlobalMaxPool', [2, 3, 4, 5]],
    ['GlobalMaxPool', [2, 3, 7]],
  ] as const)('%s of [%s]', async (opType, x) => {
    await expectGradients({ nodes: [op(opType, 'x -> y')], inputs: { x }, step })
  })
})
