import { existsSync, readFileSync } from 'node:fs'
import { describeIo, type Model } from '@edgefit/shared/onnx'
import type { FeedTensor } from '../../../../agent/compress/runtime-port.ts'
import { controlFlowFeeds, controlFlowModel } from './control-flow.ts'
import { randomValues } from './graphs.ts'
import {
  batchOf,
  breastCancer,
  breastCancerModel,
  demoModel,
  fashionMnist,
  intents,
  keywords,
  pneumonia,
  type Samples,
  sharedModel,
  sharedPath,
} from './real-models.ts'
import { float32 } from './runtime.ts'

type Feeds = Readonly<Record<string, FeedTensor>>

export interface ModelUnderTest {
  readonly name: string
  readonly present: boolean
  /** Takes seconds a pass. */
  readonly large: boolean
  readonly load: () => Model
  /** Three samples: real ones where there are any. */
  readonly feeds: (model: Model) => readonly Feeds[]
}

const COUNT = 3

function own(name: string, load: () => Model, feeds: ModelUnderTest['feeds']): ModelUnderTest {
  return { name, present: true, large: false, load, feeds }
}

/** One that may not be copied into the project. */
function shared(path: string, feeds: ModelUnderTest['feeds'] = random): ModelUnderTest {
  const large = /^(onnx_light|mobilenet)/.test(path)
  return { name: path, present: existsSync(sharedPath(path)), large, load: () => sharedModel(path), feeds }
}

/** Every model there is, with branches and loops made for the tests among those that are always there. */
export const EVERY_MODEL: readonly ModelUnderTest[] = [
  own(
    'fashion-resnet14',
    () => demoModel('fashion-resnet14'),
    () => first(fashionMnist()),
  ),
  own(
    'fashion-mobilenetv2',
    () => demoModel('fashion-mobilenetv2'),
    () => first(fashionMnist()),
  ),
  own('breast-cancer', breastCancerModel, () => first(breastCancer('test'))),
  ...([11, 17, 21] as const).map((opset) =>
    own(
      `branches and loops, opset ${opset}`,
      () => controlFlowModel(opset),
      () => [true, false, true].map(controlFlowFeeds),
    ),
  ),
  shared('fashion_mnist/teacher.onnx'),
  shared('fashion_mnist/student.onnx'),
  shared('pneumonia_mnist/model.onnx', () => first(pneumonia('test'))),
  shared('mlperf_kws_dscnn/model.onnx', () => first(keywords())),
  shared('mlperf_vww/model.onnx'),
  shared('mobilenet_v2/model.onnx'),
  shared('clinc150_transformer/model.onnx', () => first(intents('val'))),
  shared('silero_vad/silero_vad_16k_op15.onnx', () => speech()),
  shared('silero_vad/silero_vad_op18_ifless.onnx', () => speech()),
  shared('onnx_light/light_resnet50.onnx'),
  shared('onnx_light/light_shufflenet.onnx'),
  shared('onnx_light/light_densenet121.onnx'),
]

function first(samples: Samples): readonly Feeds[] {
  return Array.from({ length: COUNT }, (_, at) => batchOf(samples, at, at + 1))
}

function random(model: Model): readonly Feeds[] {
  const [input] = describeIo(model).inputs
  const dims = (input?.dims ?? []).map((dim) => (typeof dim === 'number' ? dim : 1))
  const count = dims.reduce((product, dim) => product * dim, 1)
  return Array.from({ length: COUNT }, (_, at) => ({ [input?.name ?? '']: float32(dims, randomValues(count, at + 1)) }))
}

/** Three windows of one recording. */
function speech(): readonly Feeds[] {
  const pcm = new Int16Array(Uint8Array.from(readFileSync(sharedPath('silero_vad/test.wav')).subarray(44)).buffer)
  return Array.from({ length: COUNT }, (_, at) => ({
    input: float32(
      [1, 576],
      Float32Array.from(pcm.subarray((at + 1) * 50_000).subarray(0, 576), (one) => one / 32768),
    ),
    state: float32([2, 1, 128], randomValues(256, at + 1, 0.1)),
    sr: { type: 'int64', dims: [], data: BigInt64Array.of(16_000n) },
  }))
}
