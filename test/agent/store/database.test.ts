import { access, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openAgentDatabase, openOrReplaceAgentDatabase } from '../../../agent/store/database.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-journal-'))
  path = join(folder, 'state.db')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function fill(): Promise<void> {
  const database = await openAgentDatabase(path)
  for (let key = 0; key < 200; key += 1) {
    await database
      .insertInto('facts')
      .values({ key: String(key), value: 'x'.repeat(400) })
      .execute()
  }
  await database.destroy()
}

it('keeps what was committed over a power cut', async () => {
  await (await openAgentDatabase(path)).destroy()

  const database = await openAgentDatabase(path)

  const sqlite = new Database(path)
  expect(sqlite.pragma('journal_mode', { simple: true })).toBe('wal')
  sqlite.close()
  const { rows } = await sql<{ synchronous: number }>`pragma synchronous`.execute(database)
  expect(rows[0]?.synchronous).toBe(2)
  await database.destroy()
})

describe('a journal that cannot be used', () => {
  const spoil: Record<string, () => Promise<void>> = {
    'no database at all': () => writeFile(path, 'not a database, and long enough to be read as one'.repeat(40)),
    'cut off': async () => {
      await fill()
      await truncate(path, 40_000)
    },
    'written by a newer agent': async () => {
      await fill()
      const sqlite = new Database(path)
      sqlite.prepare("insert into kysely_migration values ('9999-newer', '2030')").run()
      sqlite.close()
    },
  }

  it.each(Object.keys(spoil))('%s: names the remedy, and is set aside by a running agent', async (what) => {
    await spoil[what]?.()

    await expect(openAgentDatabase(path)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/state\.db (is damaged|was written by a newer).*sets it aside/s),
    })
    const { database, replaced } = await openOrReplaceAgentDatabase(path)

    expect(replaced).toMatch(/state\.db/)
    expect(await database.selectFrom('facts').selectAll().execute()).toEqual([])
    await database.destroy()
    await access(`${path}.unusable`)
    const again = await openOrReplaceAgentDatabase(path)
    expect(again.replaced).toBeUndefined()
    await again.database.destroy()
  })
})
