import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type NpzSource, unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import { FASHION_MNIST, loadFashionMnist } from '../../../deploy/demo/fashion-mnist.ts'

export const resNet = fileURLToPath(FASHION_MNIST.resNet)
export const mobileNet = fileURLToPath(FASHION_MNIST.mobileNet)
export const breastCancer = fileURLToPath(new URL('../../fixtures/breast-cancer/model.onnx', import.meta.url))

/** Unpacks arrays into `directory/name`, as the agent does with a dataset that it fetched. */
export async function unpackedDataset(directory: string, name: string, arrays: readonly NpzSource[]): Promise<string> {
  const npz = join(directory, `${name}.npz`)
  const signal = AbortSignal.timeout(30_000)
  await writeNpz(npz, arrays, {}, signal)
  await unpackNpz(npz, join(directory, name), signal)
  return join(directory, name)
}

/** The first `count` test images of Fashion-MNIST, with or without their labels. */
export async function fashionDataset(directory: string, count: number, { labelled = true } = {}): Promise<string> {
  const { input, labels } = await loadFashionMnist(count)
  const images: NpzSource = { name: 'input', dtype: 'float32', shape: [count, 1, 28, 28], data: input }
  const classes: NpzSource = { name: 'labels', dtype: 'int64', shape: [count], data: labels }
  return unpackedDataset(
    directory,
    labelled ? 'fashion' : 'fashion-unlabelled',
    labelled ? [images, classes] : [images],
  )
}

/** The breast cancer table as a dataset. */
export function breastCancerDataset(directory: string): Promise<string> {
  const { input, labels, count } = breastCancerTable()
  return unpackedDataset(directory, 'table', [
    { name: 'input', dtype: 'float32', shape: [count, 30], data: input },
    { name: 'labels', dtype: 'int64', shape: [count], data: labels },
  ])
}

/** The breast cancer table: 30 features a row, label 1 for benign. */
export function breastCancerTable(): {
  readonly input: Float32Array
  readonly labels: BigInt64Array
  readonly count: number
} {
  const csv = readFileSync(new URL('../../fixtures/breast-cancer/breast_cancer.csv', import.meta.url), 'utf8')
  const rows = csv
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
  return {
    input: Float32Array.from(rows.flatMap((row) => row.slice(2).map(Number))),
    labels: BigInt64Array.from(rows, (row) => BigInt(row[1] ?? '')),
    count: rows.length,
  }
}
