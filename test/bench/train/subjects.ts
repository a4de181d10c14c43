import { existsSync, readFileSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { openDataset, unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import type { SplitSpec } from '@edgefit/shared/model'
import { fashionMnist, intents, keywords, type Samples, sharedPath } from '../../agent/compress/support/real-models.ts'

/** A dataset on disk, and how it is divided. */
interface Division {
  readonly datasetDir: string
  readonly split: SplitSpec
}

/** A labelled model, with data to build by and others to judge by. */
export interface TrainSubject {
  readonly name: string
  readonly modelPath: string
  /** For tables: where the training samples come from, and whether the model knows them. */
  readonly trainedOn: string
  /** Calibration, tuning and training. Its evaluation part is one sample: nothing is judged here. */
  building(): Promise<Division>
  /** Samples that neither the model nor a build has seen. Its evaluation part is all but two of them. */
  judging(): Promise<Division>
}

/** All Fashion-MNIST training images: `apt-get install dataset-fashion-mnist`. */
const ALL_IMAGES = '/usr/share/datasets/fashion-mnist/train'
/** Datasets are written once, and stay. */
const FOLDER = join(tmpdir(), 'edgefit-bench-train-data')
const CALIBRATION = 300
const MEAN = 0.2860406
const STD = 0.35302424

const demo = (name: string) => fileURLToPath(new URL(`../../../deploy/demo/data/${name}.onnx`, import.meta.url))

/** Those whose files are there: some may not be copied into the project and lie beside it. */
export function trainSubjects(only = ''): readonly TrainSubject[] {
  const fashion = fashionData()
  const spoken = {
    trainedOn: 'samples of the test set: those it was trained on are not here',
    building: () => division('keywords-build', () => rows(keywords(), 0, 2890), fewSamples(2890)),
    judging: () => division('keywords-judge', () => rows(keywords(), 2890, 4890), judging(2000)),
  }
  const typed = {
    trainedOn: 'its own 15,000 training texts and 3,000 of validation',
    building: () => division('intents-build', () => joined(intents('train'), intents('val')), building(18_000, 2000)),
    judging: () => division('intents-judge', () => intents('test'), judging(4500)),
  }
  const subjects: readonly TrainSubject[] = [
    { name: 'fashion_resnet14', modelPath: demo('fashion-resnet14'), ...fashion },
    { name: 'fashion_mobilenetv2', modelPath: demo('fashion-mobilenetv2'), ...fashion },
    { name: 'fashion_student', modelPath: sharedPath('fashion_mnist/student.onnx'), ...fashion },
    { name: 'fashion_teacher', modelPath: sharedPath('fashion_mnist/teacher.onnx'), ...fashion },
    { name: 'MLPerf DS-CNN', modelPath: sharedPath('mlperf_kws_dscnn/model.onnx'), ...spoken },
    { name: 'clinc150_transformer', modelPath: sharedPath('clinc150_transformer/model.onnx'), ...typed },
  ]
  return subjects.filter(({ name, modelPath }) => {
    if (!name.includes(only)) return false
    const isThere = existsSync(modelPath)
    if (!isThere) process.stderr.write(`skipped ${name}: ${modelPath} is not there\n`)
    return isThere
  })
}

/** Images that the nets were trained on, as they are: the nets saw them shifted and mirrored. */
function fashionData(): Pick<TrainSubject, 'trainedOn' | 'building' | 'judging'> {
  const all = existsSync(`${ALL_IMAGES}-images-idx3-ubyte.gz`)
  const files = all ? ALL_IMAGES : sharedPath('fashion_mnist/train12k')
  const count = all ? 60_000 : 12_000
  return {
    trainedOn: `${all ? 'all 60,000' : '12,000 of its 60,000'} training images`,
    building: () => division(`fashion-build-${count}`, () => trainImages(files), building(count, 2000)),
    judging: () => division('fashion-judge', fashionMnist, judging(10_000)),
  }
}

function building(count: number, tuning: number): SplitSpec {
  return { seed: 0, calibration: CALIBRATION, tuning, evaluation: 1, training: count - CALIBRATION - tuning - 1 }
}

/** Where samples are few, what is not trained on is missed. */
function fewSamples(count: number): SplitSpec {
  return { seed: 0, calibration: 50, tuning: 100, evaluation: 1, training: count - 151 }
}

function judging(count: number): SplitSpec {
  return { seed: 0, calibration: 1, tuning: 1, evaluation: count - 2 }
}

function trainImages(files: string): Samples {
  const pixels = gunzipSync(readFileSync(`${files}-images-idx3-ubyte.gz`)).subarray(16)
  return {
    input: 'input',
    sampleDims: [1, 28, 28],
    values: Float32Array.from(pixels, (pixel) => (pixel / 255 - MEAN) / STD),
    labels: gunzipSync(readFileSync(`${files}-labels-idx1-ubyte.gz`)).subarray(8),
  }
}

function rows({ values, labels, ...rest }: Samples, from: number, to: number): Samples {
  const size = values.length / labels.length
  return { ...rest, values: values.slice(from * size, to * size), labels: labels.slice(from, to) }
}

function joined(first: Samples, second: Samples): Samples {
  const values = new BigInt64Array(first.values.length + second.values.length)
  for (const [at, value] of first.values.entries()) values[at] = BigInt(value)
  for (const [at, value] of second.values.entries()) values[first.values.length + at] = BigInt(value)
  return { ...first, values, labels: Uint8Array.from([...first.labels, ...second.labels]) }
}

/** The dataset `name`, written where it is not there yet. */
async function division(name: string, read: () => Samples, split: SplitSpec): Promise<Division> {
  const datasetDir = join(FOLDER, name)
  const present = await openDataset(datasetDir).catch(() => undefined)
  await present?.close()
  if (present === undefined) await writeDataset(datasetDir, read())
  return { datasetDir, split }
}

/** Beside its place first: another bench may be about to do the same. */
async function writeDataset(to: string, { input, sampleDims, values, labels }: Samples): Promise<void> {
  const signal = AbortSignal.timeout(10 * 60_000)
  await mkdir(FOLDER, { recursive: true })
  const beside = `${to}.${process.pid}`
  const dtype = values instanceof Float32Array ? 'float32' : 'int64'
  const shape = [labels.length, ...sampleDims]
  await writeNpz(
    `${beside}.npz`,
    [
      { name: input, dtype, shape, data: values },
      { name: 'labels', dtype: 'int64', shape: [labels.length], data: BigInt64Array.from(labels, BigInt) },
    ],
    {},
    signal,
  )
  await unpackNpz(`${beside}.npz`, beside, signal)
  await rm(`${beside}.npz`)
  await rename(beside, to).catch(() => rm(beside, { recursive: true }))
}
