import { expect, it } from 'vitest'
import { formatPasses } from '../../../agent/cli/format-report.ts'

it('shows the passes as a table, and below it what each left alone', () => {
  const text = formatPasses([
    {
      pass: 'fold-batch-norm',
      nodesBefore: 103,
      nodesAfter: 67,
      bytesBefore: 1024,
      bytesAfter: 1024,
      durationMs: 20,
      notes: [],
      sqnrDb: 200,
      latencyP50Ms: 0.5,
    },
    {
      pass: 'quantize-static',
      nodesBefore: 67,
      nodesAfter: 190,
      bytesBefore: 1024 ** 2,
      bytesAfter: 256 * 1024,
      durationMs: 12_340,
      notes: ['Gemm "y": in float, the recipe excludes it'],
      sqnrDb: 31.25,
      latencyP50Ms: null,
    },
  ])

  expect(text).toBe(
    [
      'pass             nodes     weights              against fp32  p50 after it  took',
      'fold-batch-norm  103 → 67  1.0 KiB              equal         0.500 ms      0.02 s',
      'quantize-static  67 → 190  1.0 MiB → 256.0 KiB  31.3 dB       -             12.34 s',
      '  quantize-static: Gemm "y": in float, the recipe excludes it',
    ].join('\n'),
  )
})
