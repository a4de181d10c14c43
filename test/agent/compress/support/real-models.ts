import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { decodeModel, type Model } from '@edgefit/shared/onnx'
import type { CalibrationSource } from '../../../../agent/compress/calibration/run-samples.ts'
import type { FeedTensor } from '../../../../agent/compress/runtime-port.ts'

const repository = fileURLToPath(new URL('../../../../', import.meta.url))
const shared = `${repository}../shared/models`
const demo = `${repository}deploy/demo/data`

/** Whether the models that may not be copied into the project lie beside it. */
export const hasSharedModels = existsSync(shared)

/** Samples of one input, laid out one after the other. */
export interface Samples {
  readonly input: string
  readonly sampleDims: readonly number[]
  readonly values: Float32Array | BigInt64Array
  readonly labels: Uint8Array
}

export function demoModel(name: string): Model {
  return decodeModel(readFileSync(`${demo}/${name}.onnx`))
}

export function sharedModel(path: string): Model {
  return decodeModel(readFileSync(sharedPath(path)))
}

export function sharedPath(path: string): string {
  return `${shared}/${path}`
}

export function breastCancerModel(): Model {
  return decodeModel(readFileSync(`${repository}test/fixtures/breast-cancer/model.onnx`))
}

export function fashionMnist(): Samples {
  const pixels = gunzipSync(readFileSync(`${demo}/t10k-images-idx3-ubyte.gz`)).subarray(16)
  const labels = gunzipSync(readFileSync(`${demo}/t10k-labels-idx1-ubyte.gz`)).subarray(8)
  return images(pixels, labels, 0.2860406, 0.35302424)
}

export function pneumonia(part: 'val' | 'test' | 'train'): Samples {
  const folder = `${shared}/pneumonia_mnist`
  const pixels = readFileSync(`${folder}/${part}_images_u8.bin`)
  return images(pixels, readFileSync(`${folder}/${part}_labels_u8.bin`), 0.57192156, 0.16835126)
}

export function keywords(): Samples {
  const folder = `${shared}/mlperf_kws_dscnn`
  const values = new Float32Array(Uint8Array.from(readFileSync(`${folder}/gsc_test_mfcc_f32.bin`)).buffer)
  return { input: 'input', sampleDims: [1, 49, 10], values, labels: readFileSync(`${folder}/gsc_test_labels_u8.bin`) }
}

export function intents(part: 'train' | 'val' | 'test'): Samples {
  const folder = `${shared}/clinc150_transformer`
  const known: { vocab: readonly string[]; labels: readonly string[] } = JSON.parse(
    readFileSync(`${folder}/vocab_labels.json`, 'utf8'),
  )
  const texts: Record<string, readonly (readonly [text: string, intent: string])[]> = JSON.parse(
    readFileSync(`${folder}/clinc150.json`, 'utf8'),
  )
  const codes = new Map(known.vocab.map((word, code) => [word, code]))
  const rows = texts[part] ?? []
  const values = new BigInt64Array(rows.length * 32)
  for (const [row, [text]] of rows.entries()) {
    const words = (text.toLowerCase().match(/[a-z0-9']+/g) ?? []).slice(0, 32)
    for (const [at, word] of words.entries()) values[row * 32 + at] = BigInt(codes.get(word) ?? 1)
  }
  const labels = Uint8Array.from(rows, ([, intent]) => known.labels.indexOf(intent))
  return { input: 'input_ids', sampleDims: [32], values, labels }
}

export function breastCancer(part: 'train' | 'test'): Samples {
  const table = readFileSync(`${repository}test/fixtures/breast-cancer/breast_cancer.csv`, 'utf8').trim()
  const rows = table
    .split('\n')
    .flatMap((line) => (line.startsWith(part) ? [line.split(',').slice(1).map(Number)] : []))
  return {
    input: 'input',
    sampleDims: [30],
    values: Float32Array.from(rows.flatMap(([, ...features]) => features)),
    labels: Uint8Array.from(rows, ([target = 0]) => target),
  }
}

function images(pixels: Uint8Array, labels: Uint8Array, mean: number, deviation: number): Samples {
  const values = Float32Array.from(pixels, (pixel) => (pixel / 255 - mean) / deviation)
  return { input: 'input', sampleDims: [1, 28, 28], values, labels }
}

/** Samples `from` up to, not including, `to` as one batch. */
export function batchOf({ input, sampleDims, values }: Samples, from: number, to: number): Record<string, FeedTensor> {
  const size = sampleDims.reduce((a, b) => a * b, 1)
  const data = values.subarray(from * size, to * size)
  return {
    [input]: { type: data instanceof Float32Array ? 'float32' : 'int64', dims: [to - from, ...sampleDims], data },
  }
}

/** The first `count` samples. */
export function calibrationOn(samples: Samples, count: number): CalibrationSource {
  return { count, batch: ([index = 0]) => batchOf(samples, index, index + 1) }
}
