import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RuntimeSettings } from '@edgefit/shared/model'
import { encodeModel, intsValue, loadModel as loadGraph, type Model, node } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildVariant } from '../../../agent/compress/index.ts'
import { batchFor } from '../../../agent/measure/batching.ts'
import { loadModel, openSession } from '../../../agent/measure/ort-session.ts'
import { openSamples } from '../../../agent/measure/samples.ts'
import { fashionDataset, resNet } from './datasets.ts'

const runtime: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const split = { seed: 0, calibration: 10, tuning: 20, evaluation: 20 }

let directory: string
let datasetDir: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-session-'))
  datasetDir = await fashionDataset(directory, 50)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const threadCount = () => Number(/^Threads:\s+(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])

async function opened(settings: RuntimeSettings) {
  const model = await loadModel(resNet, settings)
  const samples = await openSamples({ datasetDir, split, which: 'tuning' }, model.inputs)
  const query = model.bind(await samples.feeds(0, 1))
  await samples.close()
  return { model, query }
}

describe('the session options', () => {
  it('set the number of threads', async () => {
    // The first session also starts what all of them share.
    const single = await opened(runtime)
    const before = threadCount()
    const { model } = await opened({ ...runtime, intraOpThreads: 4 })

    const during = threadCount()
    await Promise.all([single.model.release(), model.release()])

    expect(during - before).toBe(3)
  })

  it('let threads rest between runs unless they may spin', async () => {
    const idleCpuMs = async (allowSpinning: boolean) => {
      const { model, query } = await opened({ ...runtime, intraOpThreads: 2, allowSpinning })
      await query.run()
      let spentMs = 0
      for (let cycle = 0; cycle < 5; cycle += 1) {
        await query.run()
        const before = process.cpuUsage()
        await sleep(40)
        const { user, system } = process.cpuUsage(before)
        spentMs += (user + system) / 1000
      }
      await model.release()
      return spentMs
    }

    expect(await idleCpuMs(true)).toBeGreaterThan(3 * (await idleCpuMs(false)))
  })
})

describe('the adapter of compression', () => {
  it('runs a model from memory and gives outputs that stay', async () => {
    const session = await openSession(readFileSync(resNet), { graphOptimization: 'basic', threads: 1 })
    const feeds = (value: number) => ({
      input: { type: 'float32', dims: [1, 1, 28, 28], data: new Float32Array(784).fill(value) } as const,
    })

    const first = (await session.run(feeds(0)))['logits']
    const kept = Float32Array.from(first?.data as Float32Array)
    await session.run(feeds(1))

    expect(first).toMatchObject({ type: 'float32', dims: [1, 10] })
    expect(first?.data).toEqual(kept)
    await session.release()
  })

  it('says why the runtime refuses a model or an input', async () => {
    await expect(openSession(Uint8Array.of(1, 2, 3), { graphOptimization: 'all', threads: 1 })).rejects.toMatchObject({
      code: 'MODEL_UNSUPPORTED',
      message: expect.stringMatching(/^the runtime refused the model: ./),
    })
    const session = await openSession(readFileSync(resNet), { graphOptimization: 'basic', threads: 1 })
    await expect(session.run({})).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED' })
    await session.release()
  })
})

describe('evaluating in batches', () => {
  async function batchOf(path: string) {
    const model = await loadModel(path, runtime)
    const samples = await openSamples({ datasetDir, split, which: 'tuning' }, model.inputs)
    const batch = await batchFor(await loadGraph(path), model, samples)
    await samples.close()
    await model.release()
    return batch
  }

  function written(name: string, bytes: Uint8Array): string {
    const path = join(directory, name)
    writeFileSync(path, bytes)
    return path
  }

  it('is for models that answer each sample by itself', async () => {
    expect(await batchOf(resNet)).toBe(16)
  })

  it('is not for dynamic quantization, whose scale is that of the whole batch', async () => {
    const { bytes } = await buildVariant({
      source: await loadGraph(resNet),
      recipe: {
        schemaVersion: 1,
        passes: [
          {
            pass: 'quantize-dynamic',
            weights: { type: 'int8', perChannel: false, reducedRange: false },
            exclude: [],
          },
        ],
        runtime,
      },
      calibration: { count: 0, batch: () => ({}) },
      openSession,
      threads: 1,
      signal: AbortSignal.timeout(10_000),
    })

    expect(await batchOf(written('dynamic.onnx', bytes))).toBe(1)
  })

  it('is not for a graph that mixes samples', async () => {
    const shape = ['batch', 1, 28, 28]
    const mixing: Model = {
      irVersion: 8,
      opsetImports: new Map([['', 13]]),
      producerName: 'test',
      producerVersion: '',
      metadata: new Map(),
      graph: {
        name: 'mixing',
        nodes: [
          node({ opType: 'ReduceMean', inputs: ['input'], outputs: ['mean'], attributes: { axes: intsValue([0]) } }),
          node({ opType: 'Sub', inputs: ['input', 'mean'], outputs: ['centred'] }),
        ],
        initializers: new Map(),
        inputs: [{ name: 'input', type: { kind: 'tensor', dataType: 'FLOAT', shape } }],
        outputs: [{ name: 'centred', type: { kind: 'tensor', dataType: 'FLOAT', shape } }],
        valueInfo: new Map(),
      },
    }

    expect(await batchOf(written('mixing.onnx', encodeModel(mixing)))).toBe(1)
  })
})
