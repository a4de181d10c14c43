import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '@edgefit/shared/stats'
import {
  fashionMnist,
  hasSharedModels,
  intents,
  keywords,
  pneumonia,
  type Samples,
  sharedPath,
} from '../agent/compress/support/real-models.ts'

/** A labelled model: what to draw calibration samples from, and what to judge by. */
export interface Subject {
  readonly name: string
  readonly modelPath: string
  /** Rows `[0, pool)` of these are drawn for calibration. */
  readonly calibration: Samples
  readonly pool: number
  /** Rows `[from, to)` of these, none of which is drawn for calibration. */
  readonly evaluation: Samples
  readonly from: number
  readonly to: number
  /** Matrix products dominate: worth quantizing dynamically. */
  readonly isTransformer: boolean
}

const demo = (name: string) => fileURLToPath(new URL(`../../deploy/demo/data/${name}.onnx`, import.meta.url))

/** Those whose files are there: some may not be copied into the project and lie beside it. */
export function ptqSubjects(): readonly Subject[] {
  const fashion = fashionMnist()
  const own = { calibration: fashion, pool: 1000, evaluation: fashion, from: 1000, to: 10_000, isTransformer: false }
  const given: Subject[] = [
    { name: 'fashion_mobilenetv2', modelPath: demo('fashion-mobilenetv2'), ...own },
    { name: 'fashion_resnet14', modelPath: demo('fashion-resnet14'), ...own },
  ]
  if (!hasSharedModels) {
    process.stderr.write('skipped DS-CNN, pneumonia and clinc150: the folder with their models is not there\n')
    return given
  }
  const words = keywords()
  return [
    ...given,
    {
      name: 'MLPerf DS-CNN',
      modelPath: sharedPath('mlperf_kws_dscnn/model.onnx'),
      calibration: words,
      pool: 1000,
      evaluation: words,
      from: 1000,
      to: 4890,
      isTransformer: false,
    },
    {
      name: 'pneumonia',
      modelPath: sharedPath('pneumonia_mnist/model.onnx'),
      calibration: pneumonia('train'),
      pool: 4708,
      evaluation: pneumonia('test'),
      from: 0,
      to: 624,
      isTransformer: false,
    },
    {
      name: 'clinc150 transformer',
      modelPath: sharedPath('clinc150_transformer/model.onnx'),
      calibration: intents('val'),
      pool: 3000,
      evaluation: intents('test'),
      from: 0,
      to: 4500,
      isTransformer: true,
    },
  ]
}

/** Without labels only time, size and memory are claimed. */
export interface UnlabelledSubject extends Pick<Subject, 'name' | 'modelPath' | 'pool'> {
  /** Made when asked for: much memory. */
  noise(): Samples
}

/** Pictures beyond those to calibrate with: for timing. */
const EXTRA = 34

/** Fed with pictures of noise. */
export function unlabelledSubjects(samples: number): readonly UnlabelledSubject[] {
  return [
    noise('MLPerf VWW', 'mlperf_vww/model.onnx', samples + EXTRA, 96, [0, 1]),
    noise('MobileNetV2 224', 'mobilenet_v2/model.onnx', samples + EXTRA, 224, [-1, 1]),
  ].filter(({ name, modelPath }) => {
    const isThere = existsSync(modelPath)
    if (!isThere) process.stderr.write(`skipped ${name}: ${modelPath} is not there\n`)
    return isThere
  })
}

function noise(
  name: string,
  path: string,
  count: number,
  side: number,
  [low, high]: readonly [number, number],
): UnlabelledSubject {
  return {
    name,
    modelPath: sharedPath(path),
    pool: count,
    noise: () => {
      const random = seededRandom(1)
      const values = new Float32Array(count * 3 * side * side).map(() => low + random() * (high - low))
      return { input: 'input', sampleDims: [3, side, side], values, labels: new Uint8Array(count) }
    },
  }
}
