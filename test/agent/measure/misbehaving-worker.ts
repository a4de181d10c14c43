import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError } from '@edgefit/shared'
import { type JobHandlers, serveJob } from '../../../agent/measure/serve-job.ts'

/** A worker that does what `modelPath` says. The real failures of a child, without waiting for a model to cause them. */
const behaviours: Readonly<Record<string, (argument: string) => Promise<void> | void>> = {
  answer: () => undefined,
  abort: () => {
    process.stderr.write('free(): invalid pointer\n')
    process.abort()
  },
  exit: () => process.exit(7),
  signal: (signal) => {
    process.kill(process.pid, signal)
    return sleep(60_000)
  },
  hang: () => sleep(60_000),
  block: () => {
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000)
  },
  allocate: async () => {
    const kept: Buffer[] = []
    for (let step = 0; step < 100; step += 1) {
      kept.push(Buffer.alloc(16 << 20, 1))
      await sleep(20)
    }
  },
  throw: () => {
    throw new TypeError('a bug')
  },
  refuse: () => {
    throw new EdgefitError('labels: 3 labels for 4 samples', { code: 'DATASET_INVALID' })
  },
  unsupported: () => {
    throw new EdgefitError('no kernel for Foo', { code: 'MODEL_UNSUPPORTED' })
  },
  diverging: () => {
    throw new EdgefitError('training got out of hand', { code: 'PASS_FAILED' })
  },
  full: () => {
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  },
  // Writes when it starts and ends, so that two of them show whether they overlapped.
  log: async (path) => {
    appendFileSync(path, 'start\n')
    await sleep(300)
    appendFileSync(path, 'end\n')
  },
}

const unused = () => Promise.reject(new Error('this worker only inspects'))
const handlers: JobHandlers = {
  inspect: async ({ modelPath }, report) => {
    const [behaviour = '', argument = ''] = modelPath.split(' ')
    report('measuring', 0.5)
    await behaviours[behaviour]?.(argument)
    return { inputs: [], outputs: [], runtimeVersion: 'none' }
  },
  'profile-bench': unused,
  /** Reports for 3 s, each time more of its work or the same, and fails. */
  build: async ({ sourcePath }, report) => {
    for (let step = 0; step < 15; step += 1) {
      // Within one stage few reports are sent.
      if (sourcePath === 'forward') report(step % 2 === 0 ? 'loading' : 'building', step / 15)
      else report('building', 0.5, sourcePath === 'forward in words' ? `at ${step} of 15` : undefined)
      await sleep(200)
    }
    throw new EdgefitError('came to its end', { code: 'PASS_FAILED' })
  },
  'tune-runtime': unused,
  'time-operators': unused,
  'measure-solo': unused,
  'measure-against': unused,
  'measure-accuracy': unused,
  'rank-layers': unused,
}
serveJob(handlers)
