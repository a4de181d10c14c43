import { type Attribute, intsValue, intValue, stringValue } from '@edgefit/shared/onnx'
import { describe, it } from 'vitest'
import { op } from '../../../support/graphs.ts'
import { expectGradients, spread } from '../../support/finite-difference.ts'

interface Case {
  readonly name: string
  readonly x: readonly number[]
  readonly w: readonly number[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly bias?: boolean
}

const group = (groups: number) => ({ group: intValue(groups) })
const strides = (...values: number[]) => ({ strides: intsValue(values) })
const pads = (...values: number[]) => ({ pads: intsValue(values) })
const dilations = (...values: number[]) => ({ dilations: intsValue(values) })
const autoPad = (value: string) => ({ auto_pad: stringValue(value) })

/** A convolution is linear in each operand, so that the differences are exact but for rounding. */
async function check(opType: string, { x, w, attributes = {}, bias = true }: Case): Promise<void> {
  const outputs =
    opType === 'Conv'
      ? (w[0] ?? 0)
      : (w[1] ?? 0) * Number(attributes['group']?.kind === 'INT' ? attributes['group'].value : 1)
  await expectGradients({
    nodes: [op(opType, bias ? 'x w b -> y' : 'x w -> y', attributes)],
    inputs: {
      x: spread('x', x, 1, { width: 4 }),
      w: spread('w', w, 2, { width: 4 }),
      ...(bias ? { b: [outputs] } : {}),
    },
    step: 0.25,
    tolerance: 1e-4,
  })
}

describe('the gradients of Conv', () => {
  it.each<Case>([
    { name: 'pointwise', x: [3, 8, 4, 5], w: [6, 8, 1, 1] },
    { name: 'pointwise with strides', x: [2, 6, 5, 6], w: [5, 6, 1, 1], attributes: strides(2, 2) },
    { name: 'dense 3x3', x: [2, 6, 5, 6], w: [4, 6, 3, 3], attributes: pads(1, 1, 1, 1) },
    { name: 'dense 3x3 without padding', x: [2, 6, 5, 6], w: [4, 6, 3, 3], bias: false },
    {
      name: 'strides that stop short of the end',
      x: [2, 5, 6, 8],
      w: [4, 5, 3, 3],
      attributes: { ...strides(2, 3), ...pads(1, 0, 0, 1) },
    },
    { name: 'an end under no window', x: [2, 5, 8, 8], w: [4, 5, 2, 2], attributes: strides(3, 3) },
    {
      name: 'dilations and pads of every side',
      x: [2, 5, 7, 8],
      w: [3, 5, 2, 3],
      attributes: { ...dilations(2, 2), ...pads(1, 2, 0, 3) },
    },
    { name: 'few channels', x: [2, 3, 7, 6], w: [4, 3, 3, 3], attributes: { ...strides(2, 2), ...pads(0, 0, 1, 1) } },
    { name: 'groups', x: [2, 12, 5, 5], w: [4, 6, 3, 3], attributes: { ...group(2), ...pads(1, 1, 1, 1) } },
    {
      name: 'narrow groups',
      x: [2, 6, 5, 5],
      w: [9, 2, 3, 3],
      attributes: { ...group(3), ...pads(1, 1, 1, 1), ...strides(2, 1) },
    },
    {
      name: 'depthwise on a small picture',
      x: [2, 5, 6, 5],
      w: [5, 1, 3, 3],
      attributes: { ...group(5), ...pads(1, 1, 1, 1) },
    },
    { name: 'depthwise', x: [2, 3, 11, 12], w: [3, 1, 3, 3], attributes: { ...group(3), ...pads(1, 1, 1, 1) } },
    {
      name: 'depthwise with strides',
      x: [2, 3, 13, 12],
      w: [3, 1, 3, 3],
      attributes: { ...group(3), ...strides(2, 2), ...pads(0, 1, 1, 0) },
    },
    {
      name: 'depthwise with dilations',
      x: [2, 3, 12, 13],
      w: [3, 1, 3, 5],
      attributes: { ...group(3), ...dilations(2, 1), ...pads(2, 1, 2, 3) },
    },
    {
      name: 'depthwise with more padding than kernel',
      x: [1, 3, 4, 4],
      w: [3, 1, 1, 3],
      attributes: { ...group(3), ...pads(1, 0, 0, 3) },
    },
    { name: 'a multiplier', x: [2, 3, 6, 6], w: [6, 1, 3, 3], attributes: { ...group(3), ...pads(1, 1, 1, 1) } },
    {
      name: 'auto_pad SAME_UPPER',
      x: [2, 5, 6, 7],
      w: [3, 5, 2, 4],
      attributes: { ...autoPad('SAME_UPPER'), ...strides(1, 2) },
    },
    {
      name: 'auto_pad SAME_LOWER',
      x: [2, 5, 6, 7],
      w: [3, 5, 2, 4],
      attributes: { ...autoPad('SAME_LOWER'), ...strides(1, 2) },
    },
    { name: 'auto_pad VALID', x: [2, 5, 6, 7], w: [3, 5, 2, 4], attributes: autoPad('VALID') },
    { name: 'one axis', x: [2, 6, 12], w: [4, 6, 3], attributes: { ...strides(2), ...pads(2, 1) } },
    { name: 'depthwise over one axis', x: [2, 4, 40], w: [4, 1, 5], attributes: { ...group(4), ...pads(2, 2) } },
    { name: 'depthwise over one long axis', x: [1, 2, 400], w: [2, 1, 5], attributes: { ...group(2), ...pads(2, 2) } },
    {
      name: 'three axes',
      x: [1, 5, 4, 3, 4],
      w: [3, 5, 2, 2, 2],
      attributes: { ...strides(1, 1, 2), ...pads(0, 1, 0, 0, 0, 0) },
    },
  ])('with $name', (given) => check('Conv', given))
})

describe('the gradients of ConvTranspose', () => {
  it.each<Case>([
    { name: 'strides', x: [2, 6, 4, 3], w: [6, 5, 3, 3], attributes: { ...strides(2, 2), ...pads(1, 1, 1, 1) } },
    {
      name: 'output padding',
      x: [2, 6, 4, 3],
      w: [6, 5, 2, 2],
      attributes: { ...strides(3, 2), output_padding: intsValue([1, 1]) },
    },
    {
      name: 'groups and dilations',
      x: [2, 6, 4, 5],
      w: [6, 2, 2, 3],
      attributes: { ...group(3), ...dilations(2, 1), ...pads(0, 1, 2, 0) },
    },
    { name: 'depthwise', x: [2, 4, 5, 5], w: [4, 1, 3, 3], attributes: { ...group(4), ...strides(2, 2) } },
    {
      name: 'a given length and SAME_UPPER',
      x: [2, 5, 4, 4],
      w: [5, 3, 3, 4],
      attributes: { ...strides(2, 2), ...autoPad('SAME_UPPER'), output_shape: intsValue([8, 7]) },
    },
    {
      name: 'a given length',
      x: [2, 5, 4, 4],
      w: [5, 3, 3, 4],
      attributes: { ...strides(2, 2), output_shape: intsValue([8, 7]) },
    },
    {
      name: 'auto_pad SAME_LOWER',
      x: [2, 5, 4, 4],
      w: [5, 3, 3, 3],
      attributes: { ...strides(2, 2), ...autoPad('SAME_LOWER') },
    },
    { name: 'one axis', x: [2, 6, 7], w: [6, 4, 4], attributes: { ...strides(2), ...pads(1, 0) } },
  ])('with $name', (given) => check('ConvTranspose', given))
})
