import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  checkDatasetFitsModel,
  checkLabels,
  classCount,
  inferTask,
  type ModelIo,
  openDataset,
  type RowSpec,
  rowLayout,
  unpackNpz,
} from '../../../shared/dataset/index.ts'
import { npz, soon, temporaryDirectories } from './fixtures.ts'

const newDirectory = temporaryDirectories()

const IMAGES: ModelIo = {
  inputs: [{ name: 'x', type: 'float32' as const, dims: ['N', 1, 28, 28] }],
  outputs: [{ name: 'logits', type: 'float32' as const, dims: ['N', 10] }],
}
const x: RowSpec = { dtype: 'float32', shape: [1, 28, 28] }
const labels: RowSpec = { dtype: 'int64', shape: [] }
const arrays = (entries: Record<string, RowSpec>) => new Map(Object.entries(entries))
const classification = { kind: 'classification' } as const

describe('inferTask', () => {
  const output = (...dims: (number | string | null)[]) => ({ outputs: [{ name: 'y', type: 'float32' as const, dims }] })

  it.each([
    ['int64', [], ['N', 10], 'classification'],
    ['uint8', [1], ['N', 10], 'classification'],
    ['int64', [], ['N', 1], 'binary-score'],
    ['int64', [], ['N'], 'binary-score'],
    ['float32', [3], ['N', 3], 'regression'],
    ['int64', [], ['N', 'classes'], undefined],
    ['int64', [5], ['N', 5, 10], undefined],
  ] as const)('takes %s labels of row shape %j and an output of %j for %s', (dtype, shape, dims, kind) => {
    expect(inferTask(arrays({ x, labels: { dtype, shape } }), output(...dims))?.kind).toBe(kind)
  })

  it('leaves it open without labels', () => {
    expect(inferTask(arrays({ x }), output('N', 10))).toBeUndefined()
  })
})

describe('checkDatasetFitsModel', () => {
  it.each([
    ['with labels', { x, labels }],
    ['without', { x }],
    ['with labels of shape (N, 1)', { x, labels: { dtype: 'uint8', shape: [1] } }],
  ] as [string, Record<string, RowSpec>][])('accepts a good dataset %s', (_, entries) => {
    expect(() => checkDatasetFitsModel(arrays(entries), IMAGES, classification)).not.toThrow()
  })

  it('accepts a fixed batch of one and unknown dims', () => {
    for (const dims of [
      [1, 1, 28, 28],
      [null, 1, null, 'width'],
    ]) {
      const io = { ...IMAGES, inputs: [{ name: 'x', type: 'float32' as const, dims }] }
      expect(() => checkDatasetFitsModel(arrays({ x }), io, null)).not.toThrow()
    }
  })

  it('accepts scalars and states, which have no batch axis first', () => {
    const voice: ModelIo = {
      inputs: [
        { name: 'input', type: 'float32' as const, dims: [null, null] },
        { name: 'state', type: 'float32' as const, dims: [2, null, 128] },
        { name: 'sr', type: 'int64' as const, dims: [] },
      ],
      outputs: [],
    }
    const entries = {
      input: { dtype: 'float32', shape: [512] },
      state: { dtype: 'float32', shape: [2, 1, 128] },
      sr: { dtype: 'int64', shape: [] },
    } as const

    expect(() => checkDatasetFitsModel(arrays(entries), voice, null)).not.toThrow()
  })

  it.each([
    ['a missing input', { images: x }, /model input "x" has no array in the dataset \(it has "images"\)/],
    ['an extra array', { x, y: x }, /array "y" is not an input of the model \("x"\) nor "labels"; rename or remove/],
    [
      'another type',
      { x: { ...x, dtype: 'uint8' } },
      /array "x" is uint8, the model input is float32.*astype\("float32"\)/,
    ],
    [
      'another layout',
      { x: { ...x, shape: [28, 28, 1] } },
      /array "x" has shape \(N, 28, 28, 1\), the model input has \[N, 1, 28, 28\]; reshape it to \(N, 1, 28, 28\)/,
    ],
    ['float labels', { x, labels: { dtype: 'float32', shape: [] } }, /array "labels" is float32; .*astype\("int64"\)/],
    ['one-hot labels', { x, labels: { dtype: 'int64', shape: [10] } }, /array "labels" has shape \(N, 10\).*argmax/],
  ] as [string, Record<string, RowSpec>, RegExp][])('refuses %s', (_, entries, message) => {
    expect(() => checkDatasetFitsModel(arrays(entries), IMAGES, classification)).toThrow(
      expect.objectContaining({ code: 'DATASET_MISMATCH', message: expect.stringMatching(message) }),
    )
  })

  it('refuses models it cannot feed', () => {
    const io = (dims: (number | string)[]) => ({ ...IMAGES, inputs: [{ name: 'x', type: 'float32' as const, dims }] })

    expect(() => checkDatasetFitsModel(arrays({ x }), io([8, 1, 28, 28]), null)).toThrow(/fixes a batch of 8/)
    expect(() => checkDatasetFitsModel(arrays({ x }), io([]), null)).toThrow(/reshape it to \(N,\)/)
    expect(() => checkDatasetFitsModel(arrays({ x }), io([2, 'N', 28]), null)).toThrow(/reshape it to \(N, 2, N, 28\)/)
  })

  it('holds regression labels to the shape of the output', () => {
    const io = (dims: (number | string)[]) => ({ ...IMAGES, outputs: [{ name: 'y', type: 'float32' as const, dims }] })
    const check = (shape: number[], dims: (number | string)[]) => () =>
      checkDatasetFitsModel(arrays({ x, labels: { dtype: 'float32', shape } }), io(dims), { kind: 'regression' })

    expect(check([3], ['N', 3])).not.toThrow()
    expect(check([], ['N', 1])).not.toThrow()
    expect(check([], ['N'])).not.toThrow()
    expect(check([4], ['N', 3])).toThrow(/array "labels" has shape \(N, 4\), the model output "y" has \[N, 3\]/)
    expect(check([], ['N', 3])).toThrow(/one value an output/)
  })

  it('leaves the labels of a custom or unknown task alone', () => {
    const odd = arrays({ x, labels: { dtype: 'float32', shape: [7, 7] } })

    expect(() => checkDatasetFitsModel(odd, IMAGES, { kind: 'custom' })).not.toThrow()
    expect(() => checkDatasetFitsModel(odd, IMAGES, null)).not.toThrow()
  })
})

describe('rowLayout', () => {
  it('tells how rows are fed', () => {
    expect(rowLayout([1, 28, 28], ['N', 1, 28, 28])).toEqual({ kind: 'batched', largestBatch: undefined })
    expect(rowLayout([1, 28, 28], [1, 1, 28, 28])).toEqual({ kind: 'batched', largestBatch: 1 })
    expect(rowLayout([2, 1, 128], [2, null, 128])).toEqual({ kind: 'whole' })
    expect(rowLayout([], [])).toEqual({ kind: 'whole' })
    expect(rowLayout([3], [])).toBeUndefined()
  })
})

describe('classCount', () => {
  it('is the last axis of the first output', () => {
    expect(classCount(IMAGES.outputs)).toBe(10)
    expect(classCount([{ name: 'y', type: 'float32' as const, dims: ['N', 'classes'] }])).toBeUndefined()
    expect(classCount([{ name: 'y', type: 'float32' as const, dims: [10] }])).toBeUndefined()
    expect(classCount([])).toBeUndefined()
  })
})

describe('checkLabels', () => {
  // The labels of plain.npz are 0 1 2 0 1 2.
  const open = async () => {
    const dir = join(await newDirectory(), 'data')
    await unpackNpz(npz('plain'), dir, soon())
    return openDataset(dir)
  }
  const outputs = (classes: number) => ({ outputs: [{ name: 'y', type: 'float32' as const, dims: ['N', classes] }] })

  it('finds a label the model has no class for', async () => {
    const dataset = await open()

    await expect(checkLabels(dataset, outputs(3), classification, soon())).resolves.toBeUndefined()
    await expect(checkLabels(dataset, outputs(2), classification, soon())).rejects.toMatchObject({
      code: 'DATASET_MISMATCH',
      message: expect.stringMatching(/array "labels" has 2 in row 2; classification has labels 0 to 1/),
    })
    await dataset.close()
  })

  it('holds binary labels to 0 and 1, and leaves other tasks alone', async () => {
    const dataset = await open()

    await expect(checkLabels(dataset, outputs(1), { kind: 'binary-score' }, soon())).rejects.toThrow(/labels 0 to 1/)
    await expect(checkLabels(dataset, outputs(1), { kind: 'regression' }, soon())).resolves.toBeUndefined()
    await dataset.close()
  })
})
