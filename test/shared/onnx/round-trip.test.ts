import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeModel, encodeModel, loadModel, saveModel } from '../../../shared/onnx/index.ts'
import { type Feeds, type Outputs, randomFeeds, realModels, runModel } from './real-models.ts'

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
  let feeds: Feeds
  let expected: unknown
  beforeAll(async () => {
    feeds = randomFeeds(await loadModel(path), 7, 1)
    expected = bytesOf(await runModel(path, feeds))
  })

  it('computes the same bits after decode and encode', async () => {
    const again = encodeModel(decodeModel(await readFile(path)))

    expect(bytesOf(await runModel(again, feeds))).toEqual(expected)
    expect(Buffer.compare(encodeModel(decodeModel(again)), again)).toBe(0)
  })

  it('computes the same bits with its weights in a data file', async () => {
    const model = await loadModel(path)
    const target = join(folder, name.replaceAll('/', '-'))

    await saveModel(target, model, { externalDataThresholdBytes: 256 })

    expect(bytesOf(await runModel(target, feeds))).toEqual(expected)
    expect(Buffer.compare(encodeModel(await loadModel(target)), encodeModel(model))).toBe(0)
    expect((await readdir(folder)).filter((file) => file.endsWith('.new'))).toEqual([])
  })
})
