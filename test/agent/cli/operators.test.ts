import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { formatOperators } from '../../../agent/cli/format-operators.ts'
import { timedOperators } from '../../../agent/cli/operators.ts'
import { createChildRunner } from '../../../agent/measure/child.ts'
import { BREAST_CANCER_MODEL } from '../../support/breast-cancer.ts'

// Every step is a process, and the machine may be busy with others.
vi.setConfig({ testTimeout: 120_000 })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-operators-test-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

it('says of every operator that the runtime runs how long it takes, once per box', async () => {
  const runner = await createChildRunner({ lockPath: join(folder, 'lock') })
  const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
  const ports = { runner, hardwareClass: 'x64-0', latencyDir: join(folder, 'latency'), onProgress: () => undefined }
  const time = (lengths = {}) =>
    timedOperators({ modelPath: BREAST_CANCER_MODEL, lengths, runtime }, ports, AbortSignal.timeout(100_000))

  const first = await time()
  const second = await time()

  expect(first.timedCount).toBeGreaterThan(0)
  expect(second.timedCount).toBe(0)
  expect(first.missing).toEqual([])
  const counted = first.operators.reduce((sum, { count }) => sum + count, 0)
  expect(counted).toBe(first.operatorCount)
  expect(formatOperators(first)).toMatch(/^operator .*\bshare\n.*Gemm/s)
  await expect(time({ nothing: 2 })).rejects.toThrow(/no input has a dimension "nothing"/)
})

it('shows what takes longest first, and what has no time', () => {
  const key = 'Conv@13(FLOAT[1,8,28,28], const FLOAT[16,8,3,3], const FLOAT[16]) -> FLOAT[1,16,28,28] {group=1}'
  const text = formatOperators({
    ms: 2,
    operatorCount: 3,
    timedCount: 1,
    operators: [
      { key, count: 2, ms: 1.5 },
      { key: 'Relu@14(FLOAT[1,16,28,28]) -> FLOAT[1,16,28,28]', count: 1, ms: 0.5 },
    ],
    missing: [{ key: 'Loop@13(INT64[]) -> FLOAT[1]', reason: 'holds a graph of its own' }],
    whole: { ms: 2.5, cpuMs: 2.5 },
  })

  expect(text).toBe(
    [
      'operator  weights          gives              times  together  share',
      'Conv      FLOAT[16,8,3,3]  FLOAT[1,16,28,28]  2      1.500 ms  75.0 %',
      'Relu                       FLOAT[1,16,28,28]  1      0.500 ms  25.0 %',
      '',
      '3 operators as the runtime runs them, 1 timed now, the others known from before',
      'predicted 2.000 ms, measured whole 2.500 ms: off by −20.0 %',
      'without a time: Loop, holds a graph of its own',
    ].join('\n'),
  )
})
