import { editGraph, type Model, node } from '@edgefit/shared/onnx'
import { runSamples, type Sampling } from '../calibration/run-samples.ts'
import { notFinite } from '../not-finite.ts'
import { addChannelStatistic } from '../repair/channel-statistics.ts'

/** A value whose axis 1 counts channels. */
export interface ObservedValue {
  readonly value: string
  readonly channels: number
}

/** Per channel, over all samples and places. */
export interface Moments {
  readonly mean: Float64Array
  /** Mean square of the distance from the mean. */
  readonly variance: Float64Array
}

/**
 * Mean and variance of each channel of each value, as if all samples lay in memory at once: those of single samples,
 * taken in the runtime about their own means, are merged in float64 (Chan, Golub and LeVeque 1979). Memory does not grow
 * with the samples.
 *
 * @throws EdgefitError PASS_FAILED naming value and sample where something is NaN or infinite; what `openSession` and
 * `run` throw; the signal's reason.
 */
export async function collectMoments(
  model: Model,
  values: readonly ObservedValue[],
  sampling: Sampling,
  onSample: (done: number) => void,
): Promise<readonly Moments[]> {
  const editor = editGraph(model.graph)
  const opset = model.opsetImports.get('') ?? 1
  const observed = values.map(({ value, channels }) => {
    const at = { channels, channelAxis: 1, opset } as const
    const shape = editor.freshName(`${value}/shape`)
    editor.add(node({ opType: 'Shape', inputs: [value], outputs: [shape] }))
    const mean = addChannelStatistic(editor, value, 'mean', at)
    const variance = addChannelStatistic(editor, value, 'variance', at)
    return { value, channels, shape, mean, variance, merged: emptyMoments(channels) }
  })
  const names = observed.flatMap(({ shape, mean, variance }) => [shape, mean, variance])
  await runSamples(sampling, { ...model, graph: editor.build() }, names, (outputs, sample) => {
    for (const { value, channels, shape, mean, variance, merged } of observed) {
      const elements = numbersOf(outputs[shape]?.data).reduce((product, dim) => product * dim, 1)
      const own = { mean: numbersOf(outputs[mean]?.data), variance: numbersOf(outputs[variance]?.data) }
      if (![...own.mean, ...own.variance].every(Number.isFinite)) throw notFinite(value, sample)
      merge(merged, { ...own, count: elements / channels })
    }
    onSample(sample + 1)
  })
  return observed.map(({ merged: { mean, variance } }) => ({ mean, variance }))
}

interface Merged extends Moments {
  count: number
}

function emptyMoments(channels: number): Merged {
  return { count: 0, mean: new Float64Array(channels), variance: new Float64Array(channels) }
}

function merge(into: Merged, { count, mean, variance }: { count: number; mean: number[]; variance: number[] }): void {
  const total = into.count + count
  for (const [channel, before] of into.mean.entries()) {
    const difference = (mean[channel] ?? 0) - before
    const squares =
      into.count * (into.variance[channel] ?? 0) +
      count * (variance[channel] ?? 0) +
      (difference ** 2 * into.count * count) / total
    into.mean[channel] = before + (difference * count) / total
    into.variance[channel] = squares / total
  }
  into.count = total
}

function numbersOf(data: Iterable<number | bigint> | undefined): number[] {
  return Array.from(data ?? [], Number)
}
