import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { keepNewest } from '../../../agent/measure/keep-newest.ts'

it.each([
  [30, ['a', 'b', 'c']],
  [29, ['b', 'c']],
  [10, ['c']],
  [0, []],
])('of three files of 10 bytes, %d bytes keep %j', async (maxBytes, kept) => {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-newest-'))
  try {
    for (const [at, name] of ['a', 'b', 'c'].entries()) {
      await writeFile(join(folder, name), Buffer.alloc(10))
      await utimes(join(folder, name), at, at)
    }
    await keepNewest(folder, maxBytes)
    expect((await readdir(folder)).sort()).toEqual(kept)
  } finally {
    await rm(folder, { recursive: true })
  }
})
