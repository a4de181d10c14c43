import type { OutputTensor } from '../../../../agent/compress/runtime-port.ts'

/** Signal to quantization noise in dB; -Infinity where the outputs do not match in size or are not finite. */
export function sqnr(expected: OutputTensor | undefined, actual: OutputTensor | undefined): number {
  if (expected === undefined || actual === undefined || expected.data.length !== actual.data.length) {
    return Number.NEGATIVE_INFINITY
  }
  let signal = 0
  let noise = 0
  for (const [at, value] of expected.data.entries()) {
    signal += Number(value) ** 2
    noise += (Number(value) - Number(actual.data[at])) ** 2
  }
  if (!Number.isFinite(noise)) return Number.NEGATIVE_INFINITY
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
}
