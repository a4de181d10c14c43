import { floatTensor, floatValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import {
  type CalibrationProgress,
  type CollectInput,
  collectRanges,
} from '../../../../agent/compress/calibration/collect.ts'
import type { CalibrationSource } from '../../../../agent/compress/calibration/run-samples.ts'
import type { OpenSession } from '../../../../agent/compress/runtime-port.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, openSession } from '../support/runtime.ts'

/** x, scaled by three factors one after the other. */
function chain(): Model {
  return modelOf({
    inputs: { x: ['n'] },
    outputs: ['c'],
    nodes: [op('Mul', 'x two -> a'), op('Relu', 'a -> b'), op('Mul', 'b two -> c'), op('Exp', 'c -> unused')],
    constants: [floatTensor('two', [], Float32Array.of(2))],
  })
}

function source(samples: readonly Float32Array[]): CalibrationSource {
  return {
    count: samples.length,
    batch: ([index = 0]) => ({ x: float32([samples[index]?.length ?? 0], samples[index] ?? new Float32Array()) }),
  }
}

function collect(input: Partial<CollectInput> & Pick<CollectInput, 'source'>) {
  return collectRanges({
    model: chain(),
    tensors: ['x', 'a', 'b', 'c'],
    method: { method: 'minmax' },
    samples: input.source.count,
    openSession,
    threads: 1,
    signal: new AbortController().signal,
    ...input,
  })
}

/** Counts what leaves the runtime. */
function observingSessions(): {
  openSession: OpenSession
  opened(): number
  open(): number
  largestRunBytes(): number
} {
  let opened = 0
  let released = 0
  let largest = 0
  return {
    openSession: async (model, options) => {
      const session = await openSession(model, options)
      opened++
      return {
        async run(feeds) {
          const outputs = await session.run(feeds)
          const sizeBytes = Object.values(outputs).reduce((sum, { data }) => sum + data.byteLength, 0)
          largest = Math.max(largest, sizeBytes)
          return outputs
        },
        release: () => {
          released++
          return session.release()
        },
      }
    },
    opened: () => opened,
    open: () => opened - released,
    largestRunBytes: () => largest,
  }
}

describe('calibration', () => {
  it('finds the extremes of every tensor over all samples, whatever their shapes', async () => {
    const ranges = await collect({ source: source([Float32Array.of(1, -3), Float32Array.of(2), new Float32Array(50)]) })

    expect(Object.fromEntries(ranges)).toEqual({
      x: { min: -3, max: 2 },
      a: { min: -6, max: 4 },
      b: { min: 0, max: 4 },
      c: { min: 0, max: 8 },
    })
  })

  it('moves the range towards each sample by a constant', async () => {
    const samples = [Float32Array.of(-1, 4), Float32Array.of(-3, 8), Float32Array.of(-1, 0)]
    const ranges = await collect({ source: source(samples), method: { method: 'moving-average', constant: 0.5 } })
    // -1 → -2 → -1.5 and 4 → 6 → 3
    expect(ranges.get('x')).toEqual({ min: -1.5, max: 3 })
  })

  it.each(['entropy', 'mse'] as const)('cuts off what is rare by %s, within what was observed', async (method) => {
    const samples = Array.from({ length: 4 }, (_, seed) =>
      randomValues(20_000, seed + 1, 0.1)
        .fill(1, 0, 1)
        .fill(-1, 1, 2),
    )
    const ranges = await collect({ source: source(samples), method: { method }, integers: { min: 0, max: 63 } })
    expect(ranges.get('x')?.max).toBeLessThan(0.9)
    expect(ranges.get('x')?.min).toBeGreaterThan(-0.9)
    expect(ranges.get('b')?.min).toBe(0)
  })

  it('uses no more samples than asked for', async () => {
    const ranges = await collect({ source: source([Float32Array.of(1), Float32Array.of(9)]), samples: 1 })
    expect(ranges.get('x')).toEqual({ min: 1, max: 1 })
  })

  it('takes only scalars out of the runtime for minmax, and one group of tensors for percentiles', async () => {
    const samples = Array.from({ length: 5 }, (_, seed) => randomValues(10_000, seed + 1))
    const minmax = observingSessions()
    const percentile = observingSessions()

    await collect({ source: source(samples), openSession: minmax.openSession })
    await collect({
      source: source(samples),
      method: { method: 'percentile', percentile: 99 },
      openSession: percentile.openSession,
      groupBytes: 80_000,
    })

    expect(minmax.largestRunBytes()).toBeLessThan(200)
    expect(percentile.largestRunBytes()).toBe(80_000)
    expect(percentile.opened()).toBe(1 + 2)
    expect([minmax.open(), percentile.open()]).toEqual([0, 0])
  })

  it('gives the same percentiles in any grouping, and a tensor larger than a group still gets through', async () => {
    const samples = Array.from({ length: 3 }, (_, seed) => randomValues(4000, seed + 1))
    const method = { method: 'percentile', percentile: 99 } as const

    const together = await collect({ source: source(samples), method })
    const alone = await collect({ source: source(samples), method, groupBytes: 1 })

    expect(alone).toEqual(together)
    expect(together.get('x')?.max).toBeGreaterThan(0.95)
    expect(together.get('x')?.max).toBeLessThan(1)
    expect(together.get('b')?.min).toBe(0)
  })

  it('tells how far it is, both passes counting for a half', async () => {
    const seen: CalibrationProgress[] = []
    await collect({
      source: source([Float32Array.of(1), Float32Array.of(2)]),
      tensors: ['x', 'a'],
      method: { method: 'percentile', percentile: 99 },
      groupBytes: 1,
      onProgress: (progress) => seen.push(progress),
    })
    expect(seen.map(({ stage, done, total }) => `${stage} ${done}/${total}`)).toEqual([
      'minmax 1/4',
      'minmax 2/4',
      'histogram 5/8',
      'histogram 6/8',
      'histogram 7/8',
      'histogram 8/8',
    ])
  })

  it.each([
    ['NaN', Number.NaN],
    ['an infinity', Number.POSITIVE_INFINITY],
  ])('names tensor and sample where %s comes up', async (_, value) => {
    for (const position of [0, 500, 999]) {
      const bad = randomValues(1000, 2)
      bad[position] = value
      const sessions = observingSessions()
      await expect(
        collect({ source: source([randomValues(1000, 1), bad]), openSession: sessions.openSession }),
      ).rejects.toMatchObject({ code: 'PASS_FAILED', details: { tensor: 'x', sample: 1 } })
      expect(sessions.open()).toBe(0)
    }
  })

  it('names the operator where values overflow inside the model', async () => {
    const model = modelOf({
      inputs: { x: ['n'] },
      outputs: ['c'],
      nodes: [op('Exp', 'x -> e'), op('LeakyRelu', 'e -> c', { alpha: floatValue(0.1) })],
    })
    await expect(
      collect({ model, tensors: ['x', 'e', 'c'], source: source([Float32Array.of(500)]) }),
    ).rejects.toMatchObject({ details: { tensor: 'e', sample: 0 } })
  })

  it('stops between samples when told to', async () => {
    const abort = new AbortController()
    const sessions = observingSessions()
    const samples = Array.from({ length: 50 }, () => Float32Array.of(1))
    const running = collect({
      source: source(samples),
      openSession: sessions.openSession,
      onProgress: ({ done }) => {
        if (done === 3) abort.abort(new Error('enough'))
      },
      signal: abort.signal,
    })
    await expect(running).rejects.toThrow('enough')
    expect(sessions.open()).toBe(0)
  })

  it('does not run what lies behind the last tensor observed', async () => {
    // The weights do not fit the input: running this product would fail.
    const model = modelOf({
      inputs: { x: ['n'] },
      outputs: ['y'],
      nodes: [op('Relu', 'x -> r'), op('MatMul', 'r w -> y')],
      constants: [randomTensor('w', [7, 3], 1)],
    })
    const ranges = await collect({ model, tensors: ['r'], source: source([Float32Array.of(1, 2)]) })
    expect(ranges.get('r')).toEqual({ min: 1, max: 2 })
  })
})
