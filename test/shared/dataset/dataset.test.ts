import { truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openDataset, unpackNpz } from '../../../shared/dataset/index.ts'
import { npz, soon, temporaryDirectories } from './fixtures.ts'

const newDirectory = temporaryDirectories()

async function unpacked(name: string): Promise<string> {
  const dir = join(await newDirectory(), 'data')
  await unpackNpz(npz(name), dir, soon())
  return dir
}

describe('openDataset', () => {
  it('describes rows and reads them in any order, repeats included', async () => {
    const dataset = await openDataset(await unpacked('plain'))

    expect(dataset.count).toBe(6)
    expect(dataset.hasLabels).toBe(true)
    expect([...dataset.arrays]).toEqual([
      ['x', { dtype: 'float32', shape: [1, 2, 2] }],
      ['labels', { dtype: 'int64', shape: [] }],
    ])
    const rows = await dataset.readRows('x', [5, 0, 1, 1])
    expect(rows).toBeInstanceOf(Float32Array)
    expect([...rows]).toEqual([5, 0, 1, 1].flatMap((row) => [0, 1, 2, 3].map((column) => (4 * row + column) / 8 - 1)))
    expect(await dataset.readRows('labels', [2, 4])).toEqual(BigInt64Array.of(2n, 1n))
    expect(await dataset.labels([2, 4])).toEqual(Float64Array.of(2, 1))
    expect((await dataset.readRows('x', [])).length).toBe(0)
    await dataset.close()
  })

  it('gives every element type its typed array', async () => {
    const dataset = await openDataset(await unpacked('dtypes'))
    const read = async (name: string) => [...(await dataset.readRows(name, [0, 1, 2, 3]))].map(Number)

    for (const name of [
      'int8',
      'uint8',
      'int16',
      'uint16',
      'int32',
      'uint32',
      'int64',
      'uint64',
      'float32',
      'float64',
    ]) {
      expect(await read(name), name).toEqual([0, 1, 2, 100])
    }
    expect(await read('bool')).toEqual([0, 1, 1, 0])
    expect(await dataset.readRows('float16', [1, 3])).toEqual(Uint16Array.of(0x3c00, 0x5640))
    expect(dataset.hasLabels).toBe(false)
    await expect(dataset.labels([0])).rejects.toThrow(/no array "labels"/)
    await dataset.close()
  })

  it('refuses rows outside the dataset and unknown arrays', async () => {
    const dataset = await openDataset(await unpacked('plain'))

    for (const bad of [[6], [-1], [0.5], [4, 5, 6]]) {
      await expect(dataset.readRows('x', bad)).rejects.toThrow(/not within the 6 of array "x"/)
    }
    await expect(dataset.readRows('y', [0])).rejects.toThrow(/no array "y", only x, labels/)
    await dataset.close()
  })

  it('refuses what is not complete or not whole', async () => {
    const dir = await unpacked('plain')

    await truncate(join(dir, 'x.npy'), 150)
    await expect(openDataset(dir)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/"x" .* unpack/),
    })
    await unlink(join(dir, 'x.npy'))
    await expect(openDataset(dir)).rejects.toMatchObject({ code: 'DATASET_INVALID' })
    await writeFile(join(dir, 'complete'), '{"arrays": 3}')
    await expect(openDataset(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await unlink(join(dir, 'complete'))
    await expect(openDataset(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
