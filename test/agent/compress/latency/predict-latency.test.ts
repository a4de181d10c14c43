import { describe, expect, it } from 'vitest'
import { emptyTable, withTimes } from '../../../../agent/compress/latency/latency-table.ts'
import { predictLatency } from '../../../../agent/compress/latency/predict-latency.ts'

const none = emptyTable({
  hardwareClass: 'x64-0',
  runtimeVersion: '1.0.0',
  runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
})
const table = withTimes(none, 0.25, {
  conv: { ms: 2 },
  relu: { ms: 0.5 },
  loop: { reason: 'holds a graph of its own' },
})

describe('a predicted latency', () => {
  it('is an empty run and every operator as often as it runs', () => {
    expect(predictLatency(table, ['conv', 'relu', 'conv'])).toEqual({
      ms: 4.75,
      operatorCount: 3,
      operators: [
        { key: 'conv', count: 2, ms: 4 },
        { key: 'relu', count: 1, ms: 0.5 },
      ],
      missing: [],
    })
  })

  it('names what it leaves out, once, with the reason', () => {
    expect(predictLatency(table, ['loop', 'conv', 'loop', 'gemm'])).toEqual({
      ms: 2.25,
      operatorCount: 4,
      operators: [{ key: 'conv', count: 1, ms: 2 }],
      missing: [
        { key: 'loop', reason: 'holds a graph of its own' },
        { key: 'gemm', reason: 'not timed yet' },
      ],
    })
  })

  it('stands on the empty run that was timed first: predictions of two days have to compare', () => {
    expect(predictLatency(withTimes(table, 0.75, {}), []).ms).toBe(0.25)
    expect(predictLatency(withTimes(table, 0.125, {}), []).ms).toBe(0.25)
  })
})
