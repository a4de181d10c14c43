import { int64Tensor, intValue, type Tensor } from '@edgefit/shared/onnx'
import { describe, it } from 'vitest'
import { op } from '../../../support/graphs.ts'
import { expectGradients } from '../../support/finite-difference.ts'

const ints = (name: string, ...values: number[]) => int64Tensor(name, [values.length], values)
const END = Number.MAX_SAFE_INTEGER

type Slicing = readonly [name: string, starts: number[], ends: number[], axes?: number[], steps?: number[]]
const slicings: readonly Slicing[] = [
  ['from within', [1, 2], [3, 4]],
  ['one axis', [1], [4], [1]],
  ['an axis from the end', [0], [2], [-1]],
  ['to the end', [2], [END], [1]],
  ['counted from the end', [-3], [-1], [1]],
  ['beyond both ends', [-100], [100], [1]],
  ['all of it', [0, 0], [4, 5]],
  ['every second', [0], [END], [1], [2]],
  ['every third from the second', [1], [5], [1], [3]],
  ['backwards', [-1], [-END], [0], [-1]],
  ['backwards by twos', [3], [-END], [1], [-2]],
  ['backwards from beyond the end', [100], [0], [1], [-1]],
  ['steps on two axes', [1, 0], [END, END], [0, 1], [2, 2]],
  ['a step and a range', [1, 1], [3, END], [0, 1], [1, 2]],
]

describe('Slice', () => {
  it.each(slicings)('%s', async (_, starts, ends, axes, steps) => {
    const constants = [ints('starts', ...starts), ints('ends', ...ends)]
    if (axes !== undefined) constants.push(ints('axes', ...axes))
    if (steps !== undefined) constants.push(ints('steps', ...steps))
    const inputs = constants.map(({ name }) => name).join(' ')
    await expectGradients({ nodes: [op('Slice', `x ${inputs} -> y`)], inputs: { x: [4, 5] }, constants })
  })
})

const gathers: readonly (readonly [name: string, indices: Tensor, axis: number])[] = [
  ['rows', ints('at', 3, 0), 0],
  ['a row several times', ints('at', 1, 1, 3, 1), 0],
  ['rows from the end', ints('at', -1, -4, 3), 0],
  ['a table of rows', int64Tensor('at', [2, 3], [0, 1, 2, 2, 1, 1]), 0],
  ['columns', ints('at', 2, 0, 2), 1],
  ['along the last axis', ints('at', 1, 1), -1],
  ['a table along the middle axis', int64Tensor('at', [2, 2], [0, 2, 1, 2]), 1],
  ['one row', int64Tensor('at', [], [1]), 0],
  ['one column from the end', int64Tensor('at', [], [-1]), 1],
  ['one row, kept', ints('at', 2), 0],
]

describe('Gather', () => {
  it.each(gathers)('%s', async (_, indices, axis) => {
    const nodes = [op('Gather', 'x at -> y', { axis: intValue(axis) })]
    await expectGradients({ nodes, inputs: { x: [4, 3, 2] }, constants: [indices] })
  })

  it('elements', async () => {
    const nodes = [op('GatherElements', 'x at -> y', { axis: intValue(1) })]
    const constants = [int64Tensor('at', [2, 4], [0, 0, 2, -1, 1, 1, 1, 0])]
    await expectGradients({ nodes, inputs: { x: [2, 3] }, constants })
  })
})
