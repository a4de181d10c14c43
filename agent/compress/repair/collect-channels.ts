import { editGraph, type Model } from '@edgefit/shared/onnx'
import { runSamples, type Sampling } from '../calibration/run-samples.ts'
import { notFinite } from '../not-finite.ts'
import { addChannelStatistic, type ChannelStatistic } from './channel-statistics.ts'

export interface ChannelRequest {
  readonly value: string
  readonly statistic: ChannelStatistic
  readonly channels: number
  /** 1 for convolutions, -1 where the channels come last. */
  readonly channelAxis: 1 | -1
}

/**
 * One number a channel for each request, over all samples: means weigh every sample alike. Only these numbers leave the
 * runtime, and memory does not grow with the samples.
 *
 * @throws EdgefitError PASS_FAILED naming value and sample where something is NaN or infinite; what `openSession` and
 * `run` throw; the signal's reason.
 */
export async function collectChannels(
  model: Model,
  requests: readonly ChannelRequest[],
  sampling: Sampling,
  onSample?: (done: number) => void,
): Promise<readonly Float64Array[]> {
  const editor = editGraph(model.graph)
  const opset = model.opsetImports.get('') ?? 1
  const added = requests.map((request) => ({
    request,
    output: addChannelStatistic(editor, request.value, request.statistic, { ...request, opset }),
    found: new Float64Array(request.channels),
  }))
  const names = added.map(({ output }) => output)
  await runSamples(sampling, { ...model, graph: editor.build() }, names, (outputs, sample) => {
    for (const { request, output, found } of added) {
      const data = outputs[output]?.data
      if (!(data instanceof Float32Array)) throw new TypeError(`"${request.value}" is not a float32 tensor`)
      for (const [channel, value] of data.entries()) {
        if (!Number.isFinite(value)) throw notFinite(request.value, sample)
        const before = found[channel] ?? 0
        found[channel] =
          request.statistic === 'maxMagnitude' ? Math.max(before, value) : before + value / sampling.samples
      }
    }
    onSample?.(sample + 1)
  })
  return added.map(({ found }) => found)
}
