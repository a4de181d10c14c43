import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeModel, encodeModel, loadModel, saveModel } from '../../../shared/onnx/index.ts'
import { type Outputs, randomFeeds, realModels, runModel } from './real-models.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-onnx-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function bytesOf(outputs: Outputs): Record<string, { dims: readonly number[]; bytes: string }> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { dims, data }]) => {
      const { buffer, byteOffset, byteLength } = data as Float32Array<ArrayBuffer>
      return [name, { dims, bytes: Buffer.from(buffer, byteOffset, byteLength).toString('base64') }]
    }),
  )
}

describe.each(realModels)('$name', ({ name, path }) => {
  it('computes the same bits after decode and encode', async () => {
    const original = await readFile(path)
    const model = decodeModel(original)
    const feeds = randomFeeds(model, 7, 1)

    const again = encodeModel(model)

    expect(bytesOf(await runModel(again, feeds))).toEqual(bytesOf(await runModel(original, feeds)))
  })

  it('is a fixed point from the first encoding on', async () => {
    const once = encodeModel(await loadModel(path))

    const twice = encodeModel(decodeModel(once))

    expect(Buffer.compare(twice, once)).toBe(0)
  })

  it('computes the same bits with its weights in a data file', async () => {
    const model = await loadModel(path)
    const target = join(folder, name.replaceAll('/', '-'))
    const feeds = randomFeeds(model, 8, 1)

    await saveModel(target, model, { externalDataThresholdBytes: 256 })

    const reloaded = await loadModel(target)
    expect(bytesOf(await runModel(target, feeds))).toEqual(bytesOf(await runModel(path, feeds)))
    expect(Buffer.compare(encodeModel(reloaded), encodeModel(model))).toBe(0)
    expect((await readdir(folder)).filter((file) => file.endsWith('.tmp'))).toEqual([])
  })
})
