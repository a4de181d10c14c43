import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TableKey } from '../../../agent/compress/latency/latency-table.ts'
import { openLatencyTable } from '../../../agent/measure/latency-table-file.ts'

const key: TableKey = {
  hardwareClass: 'x64-1',
  runtimeVersion: '1.30.0',
  runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
}

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'edgefit-table-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function tableWithConv(): Promise<string> {
  await openLatencyTable(folder, key).add(0.01, { conv: { ms: 2 } })
  return join(folder, readdirSync(folder)[0] ?? '')
}

describe('a latency table on disk', () => {
  it('is found again, and grows', async () => {
    await tableWithConv()

    const again = openLatencyTable(folder, key)
    await again.add(0.02, { loop: { reason: 'refused' } })

    const { emptyRunMs, operators } = openLatencyTable(folder, key).table()
    expect(emptyRunMs).toBe(0.01)
    expect(operators).toEqual({ conv: { ms: 2 }, loop: { reason: 'refused' } })
  })

  it.each([
    ['hardware', { ...key, hardwareClass: 'x64-2' }],
    ['runtime', { ...key, runtimeVersion: '1.31.0' }],
    ['threads', { ...key, runtime: { ...key.runtime, intraOpThreads: 2 } }],
  ])('says nothing of other %s, and stays', async (_, other) => {
    await tableWithConv()

    const table = openLatencyTable(folder, other)
    await table.add(0.03, { conv: { ms: 9 } })

    expect(openLatencyTable(folder, key).table().operators).toEqual({ conv: { ms: 2 } })
    expect(openLatencyTable(folder, other).table().operators).toEqual({ conv: { ms: 9 } })
  })

  it.each([
    ['cut off', (text: string) => text.slice(0, 40)],
    ['of another form', () => '{"schemaVersion":2}'],
    ['with a negative time', (text: string) => text.replace('"ms":2', '"ms":-2')],
  ])('is set aside when it is %s', async (_, damage) => {
    const path = await tableWithConv()
    const damaged = damage(readFileSync(path, 'utf8'))
    writeFileSync(path, damaged)

    expect(openLatencyTable(folder, key).table().operators).toEqual({})

    expect(readFileSync(`${path}.damaged`, 'utf8')).toBe(damaged)
  })
})

describe('an operator that ends the process', () => {
  const never = () => new Promise<void>(() => undefined)
  /** As a process leaves the table that ended while it timed this. */
  const dieWith = (operator: string) => void openLatencyTable(folder, key).guarded(operator, never)

  it('gets a second chance', () => {
    dieWith('loop')

    expect(openLatencyTable(folder, key).table().operators).toEqual({})
  })

  it('is left out after the second time, even where others were timed in between', async () => {
    dieWith('loop')
    const table = openLatencyTable(folder, key)
    await table.guarded('conv', async () => undefined)
    void table.guarded('loop', never)

    const after = openLatencyTable(folder, key)
    await after.add(0.01, { conv: { ms: 2 } })

    const reason = expect.stringMatching(/ended, 2 times/)
    expect(openLatencyTable(folder, key).table().operators).toEqual({ conv: { ms: 2 }, loop: { reason } })
  })

  it('is not blamed for what comes after it', async () => {
    for (const operator of ['conv', 'conv', 'conv'])
      await openLatencyTable(folder, key).guarded(operator, async () => 1)

    expect(openLatencyTable(folder, key).table().operators).toEqual({})
  })
})
