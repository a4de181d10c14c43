import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  encodeModel,
  floatTensor,
  graphValue,
  loadModel,
  type Model,
  node,
  saveModel,
  tensorValue,
} from '../../../shared/onnx/index.ts'
import { add, relu, smallModel } from './small-model.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-onnx-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function modelWith(value: number): Model {
  const big = floatTensor('big', [2000], new Float32Array(2000).fill(value))
  const small = floatTensor('small', [3], Float32Array.of(value, value, value))
  return smallModel([add('x', 'small', 'a'), add('a', 'big', 'y')], ['y'], [small, big])
}

describe('saveModel', () => {
  it('writes one file by default, over what is there', async () => {
    const path = join(folder, 'm.onnx')
    await writeFile(path, 'old')

    await saveModel(path, modelWith(1))

    expect(await readdir(folder)).toEqual(['m.onnx'])
    expect(Buffer.compare(await readFile(path), encodeModel(modelWith(1)))).toBe(0)
  })

  it('puts tensors from the threshold on into a data file, each on a page of its own', async () => {
    const path = join(folder, 'm.onnx')

    await saveModel(path, modelWith(1), { externalDataThresholdBytes: 12 })

    const [model, data] = (await readdir(folder)).sort()
    expect([model, data]).toEqual(['m.onnx', expect.stringMatching(/^m\.onnx\.[0-9a-f]{16}\.data$/)])
    expect((await readFile(join(folder, data ?? ''))).byteLength).toBe(4096 + 8000)
    expect(await loadModel(path)).toEqual(modelWith(1))
  })

  it('never writes over the data of the model it replaces', async () => {
    const path = join(folder, 'm.onnx')
    await saveModel(path, modelWith(1), { externalDataThresholdBytes: 12 })
    const old = await readFile(path)

    await saveModel(path, modelWith(2), { externalDataThresholdBytes: 12 })
    await writeFile(join(folder, 'old.onnx'), old)

    expect(await loadModel(path)).toEqual(modelWith(2))
    expect(await loadModel(join(folder, 'old.onnx'))).toEqual(modelWith(1))
  })

  it('alone can hold more than protobuf allows in one file', () => {
    // Forty tensors over the same bytes.
    const shared = new Float32Array(2 ** 24)
    const weights = Array.from({ length: 40 }, (_, position) => floatTensor(`w${position}`, [2 ** 24], shared))
    const huge = smallModel([relu('x', 'y')], ['y'], weights)

    expect(() => encodeModel(huge)).toThrow(
      expect.objectContaining({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining('at most 2147483647') as string,
      }),
    )
  })

  it('moves weights to a data file where they are more than one file holds', async () => {
    const path = join(folder, 'm.onnx')
    const large = smallModel([relu('x', 'y')], ['y'], [floatTensor('w', [2048], new Float32Array(2048).fill(3))])
    const room = 16 * 2 ** 20

    await saveModel(path, large, { singleFileBytes: room + 8192 })
    expect(await readdir(folder)).toEqual(['m.onnx'])
    await saveModel(path, large, { singleFileBytes: room + 8191 })

    expect((await readdir(folder)).filter((name) => name.endsWith('.data'))).toHaveLength(1)
    expect(await loadModel(path)).toEqual(large)
  })

  it('refuses, before it writes anything, constants of nodes and branches that are more than one file holds', async () => {
    const path = join(folder, 'm.onnx')
    const weights = floatTensor('w', [2048], new Float32Array(2048))
    const constant = node({
      opType: 'Constant',
      inputs: [],
      outputs: ['c'],
      attributes: { value: tensorValue(weights) },
    })
    const branch = smallModel([relu('x', 'b')], ['b'], [weights]).graph
    const choice = node({
      opType: 'If',
      inputs: ['c'],
      outputs: ['d'],
      attributes: { then_branch: graphValue(branch) },
    })
    for (const inner of [constant, choice]) {
      const model = smallModel([inner, relu('x', 'y')], ['y'], [])
      await expect(saveModel(path, model, { singleFileBytes: 16 * 2 ** 20 + 8000 })).rejects.toMatchObject({
        code: 'MODEL_UNSUPPORTED',
        message: expect.stringContaining('external data') as string,
      })
    }
    expect(await readdir(folder)).toEqual([])
  })

  it('says where it could not write', async () => {
    const path = join(folder, 'absent', 'm.onnx')

    await expect(saveModel(path, modelWith(1))).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining(path) as string,
    })
  })
})

describe('loadModel', () => {
  it('names the file that is missing or no model', async () => {
    const path = join(folder, 'm.onnx')
    await expect(loadModel(path)).rejects.toMatchObject({ code: 'NOT_FOUND', details: { path } })

    await writeFile(path, 'this is not a model')

    await expect(loadModel(path)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining(`${path}: not an ONNX model`) as string,
    })
  })

  it('names the data file that is missing', async () => {
    const path = join(folder, 'm.onnx')
    await saveModel(path, modelWith(1), { externalDataThresholdBytes: 12 })
    const data = (await readdir(folder)).find((name) => name.endsWith('.data')) ?? ''
    await rm(join(folder, data))

    await expect(loadModel(path)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining(data) as string,
    })
  })

  it('follows no link out of the folder', async () => {
    const inside = join(folder, 'inside')
    await mkdir(inside)
    await saveModel(join(inside, 'm.onnx'), modelWith(1), { externalDataThresholdBytes: 12 })
    const data = (await readdir(inside)).find((name) => name.endsWith('.data')) ?? ''
    const outside = join(folder, 'outside.data')
    await writeFile(outside, await readFile(join(inside, data)))
    await rm(join(inside, data))
    await symlink(outside, join(inside, data))

    await expect(loadModel(join(inside, 'm.onnx'))).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('leads out of') as string,
    })
  })
})
