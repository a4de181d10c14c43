import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lockDataDirectory } from '../../../controller/store/data-lock.ts'
import { openStore, openStoreForReading } from '../../../controller/store/open-store.ts'

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-store-'))
  path = join(directory, 'fleet.db')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('openStore', () => {
  it('keeps the durability settings on a reopened file', async () => {
    await (await openStore(path)).destroy()

    const db = await openStore(path)
    const pragma = async (name: string) => {
      const { rows } = await sql<Record<string, unknown>>`${sql.raw(`PRAGMA ${name}`)}`.execute(db)
      return Object.values(rows[0] ?? {})[0]
    }

    expect(await pragma('journal_mode')).toBe('wal')
    expect(await pragma('synchronous')).toBe(2) // FULL
    expect(await pragma('foreign_keys')).toBe(1)
    expect(await pragma('busy_timeout')).toBe(5000)
    await db.destroy()
  })

  it('keeps rows over a reopening and runs no migration twice', async () => {
    const first = await openStore(path)
    await first.insertInto('settings').values({ key: 'fleet', value: 'default' }).execute()
    await first.destroy()

    const second = await openStore(path)

    expect(await second.selectFrom('settings').selectAll().execute()).toEqual([{ key: 'fleet', value: 'default' }])
    await second.destroy()
  })

  it('refuses a file that a newer version migrated', async () => {
    const db = await openStore(path)
    await sql`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-later', '2099-01-01')`.execute(db)
    await db.destroy()

    await expect(openStore(path)).rejects.toMatchObject({ code: 'CONFLICT' })
    await expect(openStoreForReading(path)).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  it('refuses a row whose parent does not exist', async () => {
    const db = await openStore(path)

    const orphan = db
      .insertInto('device_labels')
      .values({ device_id: 'nobody', key: 'site', value: 'lab', origin: 'operator' })
      .execute()

    await expect(orphan).rejects.toThrow(/FOREIGN KEY/)
    await db.destroy()
  })

  it('holds events append-only', async () => {
    const db = await openStore(path)
    await db
      .insertInto('events')
      .values({ at_ms: 1, actor: 'operator', kind: 'device-accepted', subject: 'device:pi-1', data: '{}' })
      .execute()

    await expect(sql`UPDATE events SET actor = 'nobody'`.execute(db)).rejects.toThrow(/append-only/)
    await expect(sql`DELETE FROM events`.execute(db)).rejects.toThrow(/append-only/)
    await db.destroy()
  })
})

it.each([
  ['to write', openStore],
  ['to read', openStoreForReading],
])('refuses %s what is no database, and names the file', async (_, open) => {
  writeFileSync(path, 'not a database '.repeat(500))

  await expect(open(path)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(path) })
})

it('refuses a data directory that is none, or is in use', async () => {
  writeFileSync(path, '')
  await expect(lockDataDirectory(path)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })

  const lock = await lockDataDirectory(join(directory, 'new'))
  await expect(lockDataDirectory(join(directory, 'new'))).rejects.toMatchObject({ code: 'CONFLICT' })
  lock.release()
  ;(await lockDataDirectory(join(directory, 'new'))).release()
})

describe('openStoreForReading', () => {
  it('reads beside the writer and cannot write', async () => {
    const writer = await openStore(path)
    await writer.insertInto('settings').values({ key: 'fleet', value: 'default' }).execute()

    const reader = await openStoreForReading(path)

    expect(await reader.selectFrom('settings').selectAll().execute()).toHaveLength(1)
    await expect(reader.insertInto('settings').values({ key: 'x', value: 'y' }).execute()).rejects.toThrow(/readonly/)
    await reader.destroy()
    await writer.destroy()
  })

  it('reads a file that nobody has open', async () => {
    await (await openStore(path)).destroy()

    const reader = await openStoreForReading(path)

    expect(await reader.selectFrom('devices').selectAll().execute()).toEqual([])
    await reader.destroy()
  })

  it('names the remedy where there is no fleet state', async () => {
    await expect(openStoreForReading(path)).rejects.toThrow(/--data/)
  })
})
