import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createCommitQueue } from '../../../controller/store/commit-queue.ts'
import { openStore, openStoreForReading } from '../../../controller/store/open-store.ts'
import type { ControllerDatabase } from '../../../controller/store/schema.ts'

let directory: string
let db: ControllerDatabase
let reader: ControllerDatabase
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-commits-'))
  db = await openStore(join(directory, 'fleet.db'))
  reader = await openStoreForReading(join(directory, 'fleet.db'))
})
afterEach(async () => {
  await reader.destroy()
  await db.destroy()
  rmSync(directory, { recursive: true, force: true })
})

const put = (key: string) => (trx: ControllerDatabase) =>
  trx.insertInto('settings').values({ key, value: key }).execute()
const keys = async (from: ControllerDatabase) =>
  (await from.selectFrom('settings').select('key').orderBy('key').execute()).map(({ key }) => key)

it('commits once for all that comes together, in order, and only then resolves', async () => {
  const commits = createCommitQueue(db)
  let onDiskMeanwhile: string[] | undefined
  let inOrder: string[] | undefined

  const results = await Promise.all([
    commits.run(put('a')),
    commits.run(put('b')),
    commits.run(async (trx) => {
      inOrder = await keys(trx)
      onDiskMeanwhile = await keys(reader)
      return 'c'
    }),
  ])

  expect(inOrder).toEqual(['a', 'b'])
  expect(onDiskMeanwhile).toEqual([])
  expect(results[2]).toBe('c')
  expect(await keys(reader)).toEqual(['a', 'b'])
})

it('takes no other with one that fails', async () => {
  const commits = createCommitQueue(db)

  const results = await Promise.allSettled([
    commits.run(put('a')),
    commits.run(async (trx) => {
      await put('half')(trx)
      throw new Error('no')
    }),
    commits.run(put('b')),
  ])

  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(await keys(reader)).toEqual(['a', 'b'])
})

it('is drained when everything is on disk, also of more than one commit takes', async () => {
  const commits = createCommitQueue(db)
  const names = Array.from({ length: 150 }, (_, n) => String(n))
  const all = names.map((name) => commits.run(put(name)))

  await commits.drain()

  expect(await keys(reader)).toHaveLength(150)
  await Promise.all(all)
  await commits.drain()
})
