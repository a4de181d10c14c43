import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeNpz } from '@edgefit/shared/dataset'
import type { Fleet } from './fleet.ts'

/** A small real model with real labelled data: 569 rows of 30 features, 2 classes. */
export const BREAST_CANCER_MODEL = fileURLToPath(new URL('../fixtures/breast-cancer/model.onnx', import.meta.url))

export async function writeBreastCancerNpz(path: string): Promise<void> {
  const text = await readFile(new URL('../fixtures/breast-cancer/breast_cancer.csv', import.meta.url), 'utf8')
  const rows = text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) =>
      line
        .split(',')
        .slice(1)
        .filter((cell) => cell !== '')
        .map(Number),
    )
  const count = rows.length
  await writeNpz(
    path,
    [
      {
        name: 'input',
        dtype: 'float32',
        shape: [count, 30],
        data: Float32Array.from(rows.flatMap((row) => row.slice(1, 31))),
      },
      {
        name: 'labels',
        dtype: 'int64',
        shape: [count],
        data: BigInt64Array.from(rows, ([label = 0]) => BigInt(label)),
      },
    ],
    {},
    AbortSignal.timeout(60_000),
  )
}

/** Puts model `model` and dataset `data` into the fleet's catalog. */
export async function publishBreastCancer(fleet: Fleet): Promise<void> {
  const npz = join(fleet.folder, 'data.npz')
  await writeBreastCancerNpz(npz)
  await fleet.json('dataset', 'publish', 'data', npz)
  await fleet.json('model', 'publish', 'model', BREAST_CANCER_MODEL, '--task', 'classification')
}
