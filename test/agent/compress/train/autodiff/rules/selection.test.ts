import { int64Tensor, intValue, type Tensor } from '@edgefit/shared/onnx'
import { describe, it } from 'vitest'
import { op } from '../../../support/graphs.ts'
import { expectGradients } from '../../support/finite-difference.ts'

const ints = (name: string, ...values: number[]) => int64Tensor(name, [values.length], values)
const END = Number.MAX_SAFE_INTEGER

interface Slicing {
  readonly starts: readonly number[]
  readonly ends: readonly number[]
  readonly axes?: readonly number[]
  readonly steps?: readonly number[]
}

const slicings: Readonly<Record<string, Slicing>> = {
  'from within': { starts: [1, 2], ends: [3, 4] },
  'one axis': { starts: [1], ends: [4], axes: [1] },
  'an axis from the end': { starts: [0], ends: [2], axes: [-1] },
  'to the end': { starts: [2], ends: [END], axes: [1] },
  'counted from the end': { starts: [-3], ends: [-1], axes: [1] },
  'beyond both ends': { starts: [-100], ends: [100], axes: [1] },
  'all of it': { starts: [0, 0], ends: [4, 5] },
  'every second': { starts: [0], ends: [END], axes: [1], steps: [2] },
  'every third from the second': { starts: [1], ends: [5], axes: [1], steps: [3] },
  backwards: { starts: [-1], ends: [-END], axes: [0], steps: [-1] },
  'backwards by twos': { starts: [3], ends: [-END], axes: [1], steps: [-2] },
  'backwards from beyond the end': { starts: [100], ends: [0], axes: [1], steps: [-1] },
  'steps on two axes': { starts: [1, 0], ends: [END, END], axes: [0, 1], steps: [2, 2] },
  'a step and a range': { starts: [1, 1], ends: [3, END], axes: [0, 1], steps: [1, 2] },
}

describe('Slice', () => {
  it.each(Object.entries(slicings))('%s', async (_, { starts, ends, axes, steps }) => {
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
