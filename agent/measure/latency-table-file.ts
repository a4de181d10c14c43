import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { writeFileAtomic } from '@edgefit/shared/artifact'
import * as z from 'zod'
import {
  emptyTable,
  LatencyTable,
  type OperatorTime,
  type TableKey,
  withTimes,
} from '../compress/latency/latency-table.ts'

/** The latency table of one box, runtime and number of threads, in a file of its own. One writer at a time. */
export interface LatencyTableFile {
  table(): LatencyTable
  add(emptyRunMs: number, times: Readonly<Record<string, OperatorTime>>): Promise<void>
  /** Runs what may end this process, so that it is known when it did. */
  guarded<Value>(operator: string, action: () => Promise<Value>): Promise<Value>
}

/** A process may be ended for other reasons just then; not twice by chance. */
const MAX_ATTEMPTS = 2
const ENDED_PROCESS = `the process that timed it ended, ${MAX_ATTEMPTS} times`

const Attempt = z.strictObject({ operator: z.string(), count: z.int() })

/**
 * Opens the table for `key` in `folder`, which is made where absent. A damaged file is set aside as `….damaged`, a table
 * for another key is not looked at. An operator that ended processes is in the table as one without a time.
 */
export function openLatencyTable(folder: string, key: TableKey): LatencyTableFile {
  mkdirSync(folder, { recursive: true })
  const digest = createHash('sha256')
    .update(JSON.stringify(Object.values(key).map(plain)))
    .digest('hex')
  const path = join(folder, `latency-${digest.slice(0, 12)}.json`)
  const attemptPath = `${path}.attempt`
  const last = Attempt.safeParse(jsonOf(textOf(attemptPath) ?? '')).data
  let table = read(path, key) ?? emptyTable(key)
  if (last !== undefined && last.count >= MAX_ATTEMPTS) {
    table = { ...table, operators: { ...table.operators, [last.operator]: { reason: ENDED_PROCESS } } }
    // On record before the next operator may end this process too.
    writeFileSync(`${path}.new`, JSON.stringify(table))
    renameSync(`${path}.new`, path)
    rmSync(attemptPath, { force: true })
  }
  return {
    table: () => table,
    async add(emptyRunMs, times) {
      table = withTimes(table, emptyRunMs, times)
      await writeFileAtomic(path, Buffer.from(JSON.stringify(table)))
    },
    async guarded(operator, action) {
      const count = 1 + (operator === last?.operator ? last.count : 0)
      writeFileSync(attemptPath, JSON.stringify({ operator, count }))
      try {
        return await action()
      } finally {
        rmSync(attemptPath, { force: true })
      }
    },
  }
}

function plain(part: unknown): unknown {
  return typeof part === 'object' && part !== null ? Object.entries(part).sort() : part
}

function read(path: string, key: TableKey): LatencyTable | undefined {
  const text = textOf(path)
  if (text === undefined) return undefined
  const parsed = LatencyTable.safeParse(jsonOf(text))
  if (parsed.success) return isDeepStrictEqual(parsed.data.key, key) ? parsed.data : undefined
  renameSync(path, `${path}.damaged`)
  return undefined
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
