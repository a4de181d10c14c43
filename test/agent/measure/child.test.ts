import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Recipe } from '@edgefit/shared/model'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type ChildRunnerOptions, createChildRunner } from '../../../agent/measure/child.ts'
import type { JobProgress } from '../../../agent/measure/jobs.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'

// Every test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const workerEntry = new URL('./misbehaving-worker.ts', import.meta.url)

let directory: string
let lockPath: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-child-'))
  lockPath = join(directory, 'measure.lock')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const open = (options: Partial<ChildRunnerOptions> = {}) => createChildRunner({ lockPath, workerEntry, ...options })

function run(runner: JobRunner, behaviour: string, { timeoutMs = 30_000, signal = AbortSignal.timeout(60_000) } = {}) {
  const progress: JobProgress[] = []
  const result = runner.run<'inspect'>(
    { kind: 'inspect', modelPath: behaviour, samples: null },
    { timeoutMs, onProgress: (step) => progress.push(step) },
    signal,
  )
  return { result, progress }
}

/** Workers that hold this test's lock, by the file they have open. */
function workersOfThisTest(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => isWorker(pid) && holdsLock(pid))
}

function isWorker(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('misbehaving-worker')
  } catch {
    return false
  }
}

function holdsLock(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === lockPath)
  } catch {
    return false
  }
}

async function eventually<Value>(look: () => Value | undefined): Promise<Value> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    const value = look()
    if (value !== undefined) return value
    await sleep(50)
  }
  throw new Error('it never happened')
}

describe('a child process', () => {
  it('gives the answer, its progress and its peak memory', async () => {
    const { result, progress } = run(await open(), 'answer')

    const done = await result

    expect(done).toMatchObject({ kind: 'done', value: { runtimeVersion: 'none' } })
    expect(done.kind === 'done' && done.peakRssBytes).toBeGreaterThan(20e6)
    expect(progress).toEqual([{ stage: 'measuring', fraction: 0.5 }])
    expect(workersOfThisTest()).toEqual([])
  })

  it.each([
    ['abort', 'crashed', 'SIGABRT'],
    ['exit', 'crashed', 'exit code 7'],
    ['signal SIGILL', 'crashed', 'SIGILL'],
    ['signal SIGSEGV', 'crashed', 'SIGSEGV'],
    ['signal SIGKILL', 'crashed', 'SIGKILL'],
    ['throw', 'crashed', 'TypeError: a bug'],
    ['unsupported', 'unsupported', 'no kernel for Foo'],
    ['diverging', 'pass-failed', 'out of hand'],
    ['full', 'no-space', 'ENOSPC'],
  ])('turns %s into the reason %s', async (behaviour, reason, words) => {
    const result = await run(await open(), behaviour).result

    expect(result).toMatchObject({ kind: 'failed', reason, message: expect.stringContaining(words) })
  })

  it('hands on the last words of a crash', async () => {
    const result = await run(await open(), 'abort').result

    expect(result).toMatchObject({ message: expect.stringContaining('free(): invalid pointer') })
  })

  it('throws what is the fault of the input, with its code', async () => {
    await expect(run(await open(), 'refuse').result).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: 'labels: 3 labels for 4 samples',
    })
  })

  it.each(['hang', 'block'])('ends at its time limit even when it would %s', async (behaviour) => {
    const result = await run(await open(), behaviour, { timeoutMs: 200 }).result

    expect(result).toMatchObject({ kind: 'failed', reason: 'timeout', message: 'not finished within 0.2 s' })
    expect(workersOfThisTest()).toEqual([])
  })

  it.each([
    ['forward', 'came to its end'],
    ['forward in words', 'came to its end'],
    ['nowhere', 'no progress for 2 s'],
  ])('may build for as long as it comes forward: %s', async (sourcePath, message) => {
    const recipe: Recipe = {
      schemaVersion: 1,
      passes: [],
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    }
    const split = { seed: 1, calibration: 1, tuning: 1, evaluation: 1 }
    const result = await (await open()).run<'build'>(
      { kind: 'build', sourcePath, datasetDir: '', split, recipe, outPath: '', calibrationThreads: 1 },
      { timeoutMs: 2000 },
      AbortSignal.timeout(60_000),
    )

    expect(result).toMatchObject({ kind: 'failed', message })
  })

  it('is killed above its memory limit', async () => {
    const result = await run(await open({ memoryLimitBytes: 300e6 }), 'allocate').result

    expect(result).toMatchObject({
      kind: 'failed',
      reason: 'out-of-memory',
      message: expect.stringMatching(/^resident memory reached \d+\.\d MB, the limit is 300\.0 MB$/),
    })
  })

  it('is interrupted by the signal, before and while it runs', async () => {
    const runner = await open()
    const controller = new AbortController()
    const { result, progress } = run(runner, 'block', { signal: controller.signal })
    await eventually(() => progress.find(({ stage }) => stage === 'measuring'))

    controller.abort()

    expect(await result).toMatchObject({ kind: 'failed', reason: 'interrupted' })
    expect(workersOfThisTest()).toEqual([])
    expect(await run(runner, 'answer', { signal: controller.signal }).result).toMatchObject({ reason: 'interrupted' })
  })

  it.each(['hang', 'block'])('dies with its parent even when it would %s', async (behaviour) => {
    const parent = spawn(
      process.execPath,
      [
        '--conditions=source',
        ...['--import', 'tsx'],
        fileURLToPath(new URL('./doomed-parent.ts', import.meta.url)),
        lockPath,
        behaviour,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    await once(parent.stdout, 'data')
    const children = workersOfThisTest()
    expect(children).toHaveLength(1)

    parent.kill('SIGKILL')

    await eventually(() => (workersOfThisTest().length === 0 ? true : undefined))
  })
})

describe('the lock of the host', () => {
  it('keeps two runners from running at once', async () => {
    const log = join(directory, 'log')
    const runners = await Promise.all([open(), open()])

    const results = await Promise.all(runners.map((runner) => run(runner, `log ${log}`).result))

    expect(results.map(({ kind }) => kind)).toEqual(['done', 'done'])
    expect(readFileSync(log, 'utf8')).toBe('start\nend\nstart\nend\n')
  })

  it('does not count against the time limit, and is said to be waited for', async () => {
    const [first, second] = await Promise.all([open(), open()])
    const holder = run(first, 'hang', { timeoutMs: 2000 })
    await eventually(() => holder.progress[0])

    const waiter = run(second, 'answer', { timeoutMs: 1500 })

    expect(await holder.result).toMatchObject({ reason: 'timeout' })
    expect(await waiter.result).toMatchObject({ kind: 'done' })
    expect(waiter.progress[0]).toEqual({ stage: 'waiting', fraction: null })
  })

  it('is waited for only so long', async () => {
    const controller = new AbortController()
    const holder = run(await open(), 'hang', { signal: controller.signal })
    await eventually(() => holder.progress[0])

    const result = await run(await open({ lockTimeoutMs: 300 }), 'answer').result

    expect(result).toMatchObject({ kind: 'failed', reason: 'timeout', message: expect.stringContaining(lockPath) })
    controller.abort()
    await holder.result
  })

  it('refuses a lock file that it cannot open', async () => {
    await expect(open({ lockPath: join(directory, 'absent', 'lock') })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^lockPath: /),
    })
  })
})

describe('the CPUs of a child', () => {
  it('are those asked for', async () => {
    const { result, progress } = run(await open({ cpus: '0' }), 'hang', { timeoutMs: 1500 })
    await eventually(() => progress[0])

    const [pid = 0] = workersOfThisTest()

    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^Cpus_allowed_list:\t0$/m)
    await result
  })
})
