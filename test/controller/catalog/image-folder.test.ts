import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Dataset, listNpz, openDataset, unpackNpz } from '@edgefit/shared/dataset'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ImageFolderOptions, imageFolderToNpz } from '../../../controller/catalog/image-folder.ts'
import { encodePng } from './png.ts'

const soon = () => AbortSignal.timeout(20_000)

let root: string
let folder: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edgefit-images-'))
  folder = join(root, 'images')
  await mkdir(folder)
})
afterEach(() => rm(root, { recursive: true, force: true }))

const outPath = () => join(root, 'out.npz')
const options = (more: Partial<ImageFolderOptions> = {}): ImageFolderOptions => ({
  folder,
  outPath: outPath(),
  width: 2,
  height: 2,
  scale: 1,
  ...more,
})

async function png(name: string, width: number, height: number, channels: 1 | 3 | 4, pixels: number[]): Promise<void> {
  await writeFile(join(folder, name), encodePng({ width, height, channels, bytes: Uint8Array.from(pixels) }))
}

const solid = (name: string, width: number, height: number, rgb: number[]) =>
  png(name, width, height, 3, Array.from({ length: width * height }, () => rgb).flat())

async function csv(text: string): Promise<string> {
  const path = join(root, 'labels.csv')
  await writeFile(path, text)
  return path
}

async function opened(): Promise<Dataset> {
  const dir = join(root, 'unpacked')
  await unpackNpz(outPath(), dir, soon())
  return openDataset(dir)
}

async function rows(name = 'input', indices = [0]): Promise<number[]> {
  const dataset = await opened()
  const values = [...(await dataset.readRows(name, indices))].map(Number)
  await dataset.close()
  return values
}

describe('imageFolderToNpz', () => {
  it('lays out RGB as NCHW or NHWC', async () => {
    await png('a.png', 2, 2, 3, [1, 2, 3, 11, 12, 13, 21, 22, 23, 31, 32, 33])

    expect(await imageFolderToNpz(options(), soon())).toEqual({ count: 1, shape: [3, 2, 2] })
    expect(await rows()).toEqual([1, 11, 21, 31, 2, 12, 22, 32, 3, 13, 23, 33])

    expect(await imageFolderToNpz(options({ layout: 'nhwc' }), soon())).toEqual({ count: 1, shape: [2, 2, 3] })
    expect(await rows()).toEqual([1, 2, 3, 11, 12, 13, 21, 22, 23, 31, 32, 33])
  })

  it('scales, then subtracts the mean and divides by the deviation of the channel', async () => {
    await solid('a.png', 2, 2, [255, 51, 0])

    await imageFolderToNpz(options({ scale: 1 / 255, mean: [0.5, 0.1, 0.25], std: [0.5, 0.2, 0.25] }), soon())

    const values = await rows()
    expect([values[0], values[4], values[8]].map((value) => value?.toFixed(5))).toEqual([
      '1.00000',
      '0.50000',
      '-1.00000',
    ])
  })

  it('turns grey into RGB, RGB into grey, 16 bits into 8 and transparency into black', async () => {
    await png('grey.png', 2, 2, 1, [10, 20, 30, 40])
    await png('clear.png', 2, 2, 4, Array<number[]>(4).fill([200, 100, 50, 0]).flat())
    await solid('white.png', 2, 2, [255, 255, 255])
    const deep = Buffer.from('0000ffff80800101', 'hex')
    await writeFile(
      join(folder, 'deep.png'),
      encodePng({ width: 2, height: 2, channels: 1, bytes: deep, bitDepth: 16 }),
    )

    await imageFolderToNpz(options(), soon())
    // Sorted: clear, deep, grey, white.
    expect(await rows('input', [2])).toEqual([10, 20, 30, 40, 10, 20, 30, 40, 10, 20, 30, 40])
    expect(await rows('input', [0])).toEqual(Array(12).fill(0))
    expect((await rows('input', [1])).slice(0, 4)).toEqual([0, 255, 128, 1])

    await imageFolderToNpz(options({ channels: 1 }), soon())
    expect(await rows('input', [2, 3])).toEqual([10, 20, 30, 40, 255, 255, 255, 255])
  })

  it('cuts the centre out, or stretches', async () => {
    // Three squares side by side, 4 x 4 each: red, green, blue.
    const line = [
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
    ].flatMap((colour) => Array<number[]>(4).fill(colour).flat())
    await png('wide.png', 12, 4, 3, Array<number[]>(4).fill(line).flat())

    await imageFolderToNpz(options({ width: 4, height: 4 }), soon())
    const cropped = await rows()
    expect(cropped.slice(16, 32)).toEqual(Array(16).fill(255))
    expect(cropped.slice(0, 16)).toEqual(Array(16).fill(0))

    await imageFolderToNpz(options({ width: 12, height: 2, fit: 'stretch' }), soon())
    const stretched = await rows()
    expect([stretched[0], stretched[24 + 6], stretched[48 + 11]]).toEqual([255, 255, 255])

    await imageFolderToNpz(options({ shorterSide: 4 }), soon())
    expect((await rows()).slice(4, 8)).toEqual([255, 255, 255, 255])
  })

  it('turns photographs as their EXIF says', async () => {
    const turned = encodePng({ width: 2, height: 1, channels: 1, bytes: Uint8Array.of(255, 0), orientation: 3 })
    await writeFile(join(folder, 'turned.png'), turned)

    await imageFolderToNpz(options({ width: 2, height: 1, channels: 1 }), soon())

    expect(await rows()).toEqual([0, 255])
  })

  it('takes class numbers in the order of the list, header or not', async () => {
    for (const name of ['a', 'b', 'c']) await solid(`${name}.png`, 2, 2, [name.charCodeAt(0), 0, 0])
    for (const text of ['c.png,2\na.png,0\n', '\uFEFFfile,label\r\nc.png, 2\r\n\r\n"a.png",0']) {
      const result = await imageFolderToNpz(options({ labelsPath: await csv(text) }), soon())

      expect(result).toEqual({ count: 2, shape: [3, 2, 2] })
      const dataset = await opened()
      expect(await dataset.labels([0, 1])).toEqual(Float64Array.of(2, 0))
      expect((await dataset.readRows('input', [0]))[0]).toBe(99)
      await dataset.close()
    }
  })

  it('numbers class names in sorted order and records them', async () => {
    for (const name of ['a', 'b', 'c']) await solid(`${name}.png`, 2, 2, [0, 0, 0])
    const labelsPath = await csv('file,label\na.png,wolf\nb.png,cat\nc.png,wolf\n')

    const { classes, classesPath = '' } = await imageFolderToNpz(options({ labelsPath }), soon())

    expect(classes).toEqual(['cat', 'wolf'])
    expect(JSON.parse(await readFile(classesPath, 'utf8'))).toEqual(['cat', 'wolf'])
    expect(await rows('labels', [0, 1, 2])).toEqual([1, 0, 1])
  })

  it('gives the same bytes again, reports progress and leaves nothing else', async () => {
    for (let image = 0; image < 5; image += 1) await solid(`${image}.png`, 9, 7, [image * 40, image, 255])
    const progress: [number, number][] = []

    await imageFolderToNpz(options({ onProgress: (done, total) => progress.push([done, total]) }), soon())
    const first = await readFile(outPath())
    await imageFolderToNpz(options(), soon())

    expect(first.equals(await readFile(outPath()))).toBe(true)
    expect(progress).toEqual([1, 2, 3, 4, 5].map((done) => [done, 5]))
    expect((await readdir(root)).sort()).toEqual(['images', 'out.npz'])
    expect(await listNpz(outPath(), soon())).toEqual([{ name: 'input', dtype: 'float32', shape: [5, 3, 2, 2] }])
  })

  it.each([
    ['a file that is not there', 'gone.png,1', 'NOT_FOUND', /image "gone.png" is not in/],
    [
      'a file outside the folder',
      'a.png,1\n../../etc/passwd,1',
      'INPUT_INVALID',
      /line 2: "..\/..\/etc\/passwd" is outside/,
    ],
    ['an absolute path', '/etc/passwd,1', 'INPUT_INVALID', /line 1: "\/etc\/passwd" is outside/],
    ['a row without a label', 'file,label\na.png', 'INPUT_INVALID', /line 2: expected "file,label"/],
    ['a file listed twice', 'a.png,1\n./a.png,2', 'INPUT_INVALID', /line 2: "a.png" is already on line 1/],
    [
      'numbers and names mixed',
      'a.png,1\nb.png,cat',
      'INPUT_INVALID',
      /line 2: label "cat" is not a class number as on line 1/,
    ],
    ['no rows', 'file,label\n', 'INPUT_INVALID', /no rows/],
    ['broken quotes', '"a.png,1\n', 'INPUT_INVALID', /not valid CSV/],
  ])('refuses a labels file with %s', async (_, text, code, message) => {
    for (const name of ['a', 'b']) await solid(`${name}.png`, 2, 2, [0, 0, 0])

    await expect(imageFolderToNpz(options({ labelsPath: await csv(text) }), soon())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  it('names an image that cannot be decoded and leaves no dataset', async () => {
    await solid('a.png', 2, 2, [0, 0, 0])
    await writeFile(join(folder, 'b.png'), 'not an image')

    await expect(imageFolderToNpz(options(), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/image "b.png" in .* cannot be decoded; replace it or remove it/),
    })
    expect(await readdir(root)).toEqual(['images'])
  })

  it.each([
    [{ width: 0 }, /width/],
    [{ mean: [0, 0] }, /mean has 2 values for 3 channels/],
    [{ std: [1, 0, 1] }, /std is 0/],
    [{ inputName: 'labels' }, /inputName "labels"/],
    [{ shorterSide: 1 }, /shorterSide 1 does not cover 2 x 2/],
    [{ shorterSide: 4, fit: 'stretch' }, /shorterSide has no meaning/],
    [{ outPath: 'x.zip' }, /must end in .npz/],
    [{ folder: '/nowhere' }, /folder \/nowhere cannot be read/],
  ] as [Partial<ImageFolderOptions>, RegExp][])('refuses the settings %j', async (more, message) => {
    await expect(imageFolderToNpz(options(more), soon())).rejects.toThrow(message)
  })

  it('refuses an empty folder and stops when aborted', async () => {
    await expect(imageFolderToNpz(options(), soon())).rejects.toMatchObject({ code: 'NOT_FOUND' })
    for (let image = 0; image < 5; image += 1) await solid(`${image}.png`, 2, 2, [0, 0, 0])
    const controller = new AbortController()
    const onProgress = (done: number) => {
      if (done === 2) controller.abort()
    }

    await expect(imageFolderToNpz(options({ onProgress }), controller.signal)).rejects.toMatchObject({
      name: 'AbortError',
    })
    expect(await readdir(root)).toEqual(['images'])
  })
})
