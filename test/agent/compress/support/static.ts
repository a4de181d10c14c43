import type { Model } from '@edgefit/shared/onnx'
import { collectRanges } from '../../../../agent/compress/calibration/collect.ts'
import type { PassResult } from '../../../../agent/compress/pass-report.ts'
import {
  type QuantizeStaticOptions,
  quantizeStatic,
} from '../../../../agent/compress/quantize-static/quantize-static.ts'
import type { FeedTensor } from '../../../../agent/compress/runtime-port.ts'
import { openSession } from './runtime.ts'

export type StaticSettings = Partial<QuantizeStaticOptions>

/** Calibrates on `feeds` alone. */
export async function quantized(
  model: Model,
  feeds: Readonly<Record<string, FeedTensor>>,
  { exclude = [], ...options }: StaticSettings = {},
): Promise<PassResult> {
  const weights = { type: 'int8', perChannel: true, reducedRange: false } as const
  const quantization = quantizeStatic(model, { activations: 'uint8', weights, exclude, ...options })
  const ranges = await collectRanges({
    model: quantization.prepared,
    tensors: quantization.observe,
    method: { method: 'minmax' },
    samples: 1,
    source: { count: 1, batch: () => feeds },
    openSession,
    threads: 1,
    signal: new AbortController().signal,
  })
  return quantization.apply(ranges)
}
