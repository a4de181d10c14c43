import { execFileSync } from 'node:child_process'
import { copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { listNpz, type NpzSource, openDataset, unpackNpz, writeNpz } from '../../../shared/dataset/index.ts'
import { npz, soon, temporaryDirectories } from './fixtures.ts'

const newDirectory = temporaryDirectories()

const PLAIN = [
  { name: 'x', dtype: 'float32', shape: [6, 1, 2, 2] },
  { name: 'labels', dtype: 'int64', shape: [6] },
]

describe('listNpz', () => {
  it.each(['plain', 'version-2', 'version-3', 'zip64'])('reads what NumPy wrote: %s.npz', async (name) => {
    expect(await listNpz(npz(name), soon())).toEqual(PLAIN)
  })

  it('reads deflated archives and every element type', async () => {
    expect(await listNpz(npz('compressed'), soon())).toMatchObject([{ shape: [240, 1, 2, 2] }, { shape: [240] }])
    expect((await listNpz(npz('dtypes'), soon())).map(({ name, dtype }) => [name, dtype])).toSatisfy(
      (pairs: [string, string][]) => pairs.length === 12 && pairs.every(([name, dtype]) => name === dtype),
    )
  })

  it.each([
    ['fortran', /array "x" is in Fortran order/],
    ['big-endian', /array "x" is big-endian/],
    ['object', /array "x" holds Python objects/],
    ['text', /array "x" has dtype "<U1"/],
    ['structured', /array "x" has a structured dtype/],
    ['mismatched', /array "labels" has 5 samples and array "x" has 6/],
    ['scalar', /array "sr" is a single value/],
    ['empty', /array "x" has no samples/],
  ])('refuses %s.npz', async (name, message) => {
    await expect(listNpz(npz(name), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(message),
    })
  })

  it('refuses a missing file, a file that is no archive, and one that is cut off', async () => {
    const dir = await newDirectory()
    await writeFile(join(dir, 'text.npz'), 'hello')
    await writeFile(join(dir, 'cut.npz'), (await readFile(npz('plain'))).subarray(0, 400))

    await expect(listNpz(join(dir, 'none.npz'), soon())).rejects.toMatchObject({ code: 'NOT_FOUND' })
    for (const name of ['text', 'cut']) {
      await expect(listNpz(join(dir, `${name}.npz`), soon())).rejects.toMatchObject({
        code: 'DATASET_INVALID',
        message: expect.stringMatching(/not an .npz archive or is cut off/),
      })
    }
  })

  it.each([
    ['no-arrays', /holds no arrays/],
    ['other-file', /holds "notes.txt", which is not an array/],
    ['twice', /holds the array "x" twice/],
    ['short', /array "x" has 132 bytes instead of 136/],
    ['half-header', /array "x" ends within its header/],
    ['climbing', /cannot be read/],
  ])('refuses the archive %s.npz', async (name, message) => {
    await expect(listNpz(npz(name), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(message),
    })
  })
})

describe('unpackNpz', () => {
  it.each(['plain', 'compressed', 'version-2', 'zip64'])('lays out %s.npz for random access', async (name) => {
    const dir = join(await newDirectory(), 'data')

    await unpackNpz(npz(name), dir, soon())

    expect((await readdir(dir)).sort()).toEqual(['complete', 'labels.npy', 'x.npy'])
    const dataset = await openDataset(dir)
    const repeat = name === 'compressed' ? 40 : 1
    expect(dataset.count).toBe(6 * repeat)
    expect([...(await dataset.readRows('x', [4 * repeat]))]).toEqual([1, 1.125, 1.25, 1.375])
    expect([...(await dataset.labels([0, repeat, 2 * repeat, 3 * repeat]))]).toEqual([0, 1, 2, 0])
    await dataset.close()
  })

  it.each(['nan', 'infinite'])('refuses %s.npz, naming array and row, and leaves nothing behind', async (name) => {
    const parent = await newDirectory()

    await expect(unpackNpz(npz(name), join(parent, 'data'), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/array "x" has a NaN or infinite value in row 4.*nan_to_num/),
    })
    expect(await readdir(parent)).toEqual([])
  })

  it('keeps a directory that holds this archive and replaces one that holds another', async () => {
    const dir = join(await newDirectory(), 'data')
    await unpackNpz(npz('plain'), dir, soon())
    const before = await stat(join(dir, 'x.npy'))

    await unpackNpz(npz('plain'), dir, soon())
    expect((await stat(join(dir, 'x.npy'))).ino).toBe(before.ino)

    await unpackNpz(npz('compressed'), dir, soon())
    const dataset = await openDataset(dir)
    expect(dataset.count).toBe(240)
    await dataset.close()
  })

  it('finishes after being interrupted', async () => {
    const dir = join(await newDirectory(), 'data')
    const aborted = AbortSignal.abort(new Error('stop'))

    await expect(unpackNpz(npz('plain'), dir, aborted)).rejects.toThrow('stop')
    await expect(openDataset(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' })

    await unpackNpz(npz('plain'), dir, soon())
    await (await openDataset(dir)).close()
  })

  it('stops in the middle of an array and leaves no complete directory', async () => {
    const parent = await newDirectory()
    const path = join(parent, 'big.npz')
    await writeNpz(
      path,
      [{ name: 'x', dtype: 'float32', shape: [64, 65_536], data: new Float32Array(2 ** 22) }],
      {},
      soon(),
    )
    const controller = new AbortController()

    const unpacking = unpackNpz(path, join(parent, 'data'), controller.signal)
    const watching = (async () => {
      while (!controller.signal.aborted) {
        const size = await stat(join(parent, 'data.partial', 'x.npy')).then(
          (file) => file.size,
          () => 0,
        )
        if (size > 0) controller.abort()
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()

    await expect(unpacking).rejects.toMatchObject({ name: 'AbortError' })
    await watching
    expect(await readdir(parent)).toEqual(['big.npz'])
  })

  it('finds damage that the archive directory does not show', async () => {
    const dir = await newDirectory()
    const stored = Buffer.from(await readFile(npz('plain')))
    stored[250] = (stored[250] ?? 0) ^ 1
    await writeFile(join(dir, 'stored.npz'), stored)

    await expect(unpackNpz(join(dir, 'stored.npz'), join(dir, 'a'), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/array "(x|labels)" is damaged/),
    })
  })

  it('keeps odd array names inside the directory', async () => {
    const parent = await newDirectory()
    const path = join(parent, 'odd.npz')
    const names = ['serving/input:0', '..', 'a b']
    await writeNpz(
      path,
      names.map((name) => row(name)),
      {},
      soon(),
    )

    await unpackNpz(path, join(parent, 'data'), soon())

    expect((await readdir(parent)).sort()).toEqual(['data', 'odd.npz'])
    const dataset = await openDataset(join(parent, 'data'))
    expect([...dataset.arrays.keys()]).toEqual(names)
    expect([...(await dataset.readRows('serving/input:0', [1]))]).toEqual([2])
    await dataset.close()
  })

  it('writes nothing for names that climb out of the archive', async () => {
    const dir = await newDirectory()

    await expect(unpackNpz(npz('climbing'), join(dir, 'data'), soon())).rejects.toMatchObject({
      code: 'DATASET_INVALID',
    })
    expect(await readdir(dir)).toEqual([])
  })
})

describe('writeNpz', () => {
  it.each([false, true])('gives the same bytes each time (compress: %s)', async (compress) => {
    const dir = await newDirectory()
    const sources: NpzSource[] = [
      row('x'),
      { name: 'labels', dtype: 'int64', shape: [3], data: BigInt64Array.of(0n, 1n, 2n) },
    ]

    await writeNpz(join(dir, 'a.npz'), sources, { compress }, soon())
    await writeNpz(join(dir, 'b.npz'), sources, { compress }, soon())

    const a = await readFile(join(dir, 'a.npz'))
    expect(a.equals(await readFile(join(dir, 'b.npz')))).toBe(true)
    expect(await listNpz(join(dir, 'a.npz'), soon())).toEqual([
      { name: 'x', dtype: 'float32', shape: [3] },
      { name: 'labels', dtype: 'int64', shape: [3] },
    ])
  })

  it('does not depend on the time zone', async () => {
    const dir = await newDirectory()
    const script = `
      import { writeNpz } from ${JSON.stringify(new URL('../../../shared/dataset/index.ts', import.meta.url).href)}
      await writeNpz(process.argv[1], [{ name: 'x', dtype: 'int8', shape: [3], data: Int8Array.of(1, 2, 3) }], {}, AbortSignal.timeout(9000))`
    for (const zone of ['UTC', 'Asia/Tokyo', 'America/Los_Angeles']) {
      execFileSync(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script, join(dir, `${zone.replace('/', '-')}.npz`)],
        {
          env: { ...process.env, TZ: zone },
        },
      )
    }

    const [first, ...others] = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name))))
    expect(others).toHaveLength(2)
    for (const other of others) expect(first?.equals(other)).toBe(true)
  })

  it('writes streams piece by piece and refuses one that does not fill its shape', async () => {
    const path = join(await newDirectory(), 'stream.npz')
    const stream = (pieces: number): NpzSource => ({
      name: 'x',
      dtype: 'uint8',
      shape: [4, 1000],
      data: async function* () {
        for (let piece = 0; piece < pieces; piece += 1) {
          await Promise.resolve()
          yield new Uint8Array(1000).fill(piece)
        }
      },
    })

    await writeNpz(path, [stream(4)], {}, soon())
    expect(await listNpz(path, soon())).toEqual([{ name: 'x', dtype: 'uint8', shape: [4, 1000] }])

    const before = await readFile(path)
    for (const wrong of [3, 5]) {
      await expect(writeNpz(path, [stream(wrong)], {}, soon())).rejects.toThrow(/has \d+ bytes, its shape needs 4000/)
    }
    expect(before.equals(await readFile(path))).toBe(true)
  })

  it('passes on what a source throws and leaves no file', async () => {
    const dir = await newDirectory()
    const failing: NpzSource = {
      name: 'x',
      dtype: 'uint8',
      shape: [10],
      // biome-ignore lint/correctness/useYield: a source that fails before its first piece
      data: async function* () {
        await Promise.resolve()
        throw new Error('camera unplugged')
      },
    }

    await expect(writeNpz(join(dir, 'x.npz'), [row('a'), failing, row('b')], {}, soon())).rejects.toThrow(
      'camera unplugged',
    )
    expect(await readdir(dir)).toEqual([])
  })

  it('lets go of a source that never ends when aborted', async () => {
    const dir = await newDirectory()
    const controller = new AbortController()
    let released = false
    const endless: NpzSource = {
      name: 'x',
      dtype: 'uint8',
      shape: [2 ** 40],
      data: async function* () {
        try {
          for (let piece = 0; ; piece += 1) {
            if (piece === 50) controller.abort()
            await new Promise((resolve) => setImmediate(resolve))
            yield new Uint8Array(1000)
          }
        } finally {
          released = true
        }
      },
    }

    await expect(writeNpz(join(dir, 'x.npz'), [endless], {}, controller.signal)).rejects.toMatchObject({
      name: 'AbortError',
    })
    await expect.poll(() => released).toBe(true)
    expect(await readdir(dir)).toEqual([])
  })

  it('survives a round trip through a copy', async () => {
    const dir = await newDirectory()
    const values = Float32Array.from({ length: 3 * 50_000 }, (_, index) => Math.sin(index))
    await writeNpz(
      join(dir, 'a.npz'),
      [{ name: 'x', dtype: 'float32', shape: [3, 50_000], data: values }],
      { compress: true },
      soon(),
    )
    await copyFile(join(dir, 'a.npz'), join(dir, 'b.npz'))

    await unpackNpz(join(dir, 'b.npz'), join(dir, 'data'), soon())

    const dataset = await openDataset(join(dir, 'data'))
    expect((await dataset.readRows('x', [0, 1, 2])) as Float32Array).toEqual(values)
    await dataset.close()
  })
})

function row(name: string): NpzSource {
  return { name, dtype: 'float32', shape: [3], data: Float32Array.of(1, 2, 3) }
}
