import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type NpzSource, writeNpz } from '@edgefit/shared/dataset'
import type { SplitSpec } from '@edgefit/shared/model'
import { seededRandom } from '@edgefit/shared/stats'
import { FASHION_MNIST, loadFashionMnist } from '../../deploy/demo/fashion-mnist.ts'

/** A model and the data to quantize and judge it with. */
export interface BenchModel {
  readonly name: string
  readonly modelPath: string
  /** Without labels only latency, SQNR and memory are claimed. */
  readonly labelled: boolean
  readonly split: SplitSpec
  writeData(path: string): Promise<void>
}

const shared = (path: string) => fileURLToPath(new URL(`../../../shared/models/${path}`, import.meta.url))
const write = (path: string, sources: readonly NpzSource[]) => writeNpz(path, sources, {}, AbortSignal.timeout(120_000))

function fashion(name: string, model: URL): BenchModel {
  return {
    name,
    modelPath: fileURLToPath(model),
    labelled: true,
    split: { seed: 0, calibration: 300, tuning: 700, evaluation: 9000 },
    async writeData(path) {
      const { input, labels, count } = await loadFashionMnist(10_000)
      await write(path, [
        { name: 'input', dtype: 'float32', shape: [count, 1, 28, 28], data: input },
        { name: 'labels', dtype: 'int64', shape: [count], data: labels },
      ])
    },
  }
}

function keywordSpotting(): BenchModel {
  const count = 4890
  return {
    name: 'mlperf DS-CNN',
    modelPath: shared('mlperf_kws_dscnn/model.onnx'),
    labelled: true,
    split: { seed: 0, calibration: 300, tuning: 690, evaluation: 3900 },
    async writeData(path) {
      const labels = await readFile(shared('mlperf_kws_dscnn/gsc_test_labels_u8.bin'))
      await write(path, [
        {
          name: 'input',
          dtype: 'float32',
          shape: [count, 1, 49, 10],
          data: await readFile(shared('mlperf_kws_dscnn/gsc_test_mfcc_f32.bin')),
        },
        { name: 'labels', dtype: 'int64', shape: [count], data: BigInt64Array.from(labels, BigInt) },
      ])
    },
  }
}

/** Random pictures: good for time and memory, and for SQNR as far as noise is a picture. */
function unlabelled(name: string, path: string, side: number, range: readonly [number, number]): BenchModel {
  const count = 96
  return {
    name,
    modelPath: shared(path),
    labelled: false,
    split: { seed: 0, calibration: 32, tuning: 32, evaluation: 32 },
    async writeData(target) {
      const random = seededRandom(1)
      const data = Float32Array.from(
        { length: count * 3 * side * side },
        () => range[0] + random() * (range[1] - range[0]),
      )
      await write(target, [{ name: 'input', dtype: 'float32', shape: [count, 3, side, side], data }])
    },
  }
}

/** Those whose files are there: some may not be copied into the project and lie beside it. */
export function benchModels(): readonly BenchModel[] {
  const all = [
    fashion('fashion_resnet14', FASHION_MNIST.resNet),
    fashion('fashion_mobilenetv2', FASHION_MNIST.mobileNet),
    keywordSpotting(),
    unlabelled('mlperf VWW', 'mlperf_vww/model.onnx', 96, [0, 1]),
    unlabelled('MobileNetV2 224', 'mobilenet_v2/model.onnx', 224, [-1, 1]),
  ]
  return all.filter(({ name, modelPath }) => {
    const present = existsSync(modelPath)
    if (!present) process.stderr.write(`skipped ${name}: ${modelPath} is not there\n`)
    return present
  })
}
