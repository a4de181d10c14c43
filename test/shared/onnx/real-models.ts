import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor as RuntimeTensor } from 'onnxruntime-node'
import { freeInputs, type Model, type ValueInfo } from '../../../shared/onnx/index.ts'

export interface RealModel {
  readonly name: string
  readonly path: string
}

const roots = [join(import.meta.dirname, '../../fixtures'), join(import.meta.dirname, '../../../../shared/models')]

/**
 * Every ONNX file among the fixtures and, where present, in the folder of models that stay outside the project; a model
 * that is in both comes from the fixtures. `fashion_resnet14/model.onnx` is named `fashion-resnet14`.
 */
export const realModels: readonly RealModel[] = [
  ...new Map(
    roots
      .flatMap(modelsIn)
      .toReversed()
      .map((model) => [model.name, model]),
  ).values(),
].toReversed()

/** The path of a model that may be absent, by its name in {@link realModels}. */
export function realModelPath(name: string): string | undefined {
  return realModels.find((model) => model.name === name)?.path
}

function modelsIn(root: string): readonly RealModel[] {
  if (!existsSync(root)) return []
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.onnx'))
  return files.sort().map((file) => {
    const name = file.replace(/(\/model)?\.onnx$/, '').replaceAll('_', '-')
    return { name, path: join(root, file) }
  })
}

export type Feeds = Record<string, RuntimeTensor>
export type Outputs = Readonly<Record<string, RuntimeTensor>>

/** Lengths for symbolic dimensions; silero takes 64 samples of context and 512 new ones. */
const SYMBOLS: Readonly<Record<string, number>> = { sequence: 576 }

/** Seeded inputs that the model accepts, with `batch` for every other symbolic dimension. */
export function randomFeeds(model: Model, seed: number, batch: number): Feeds {
  const random = mulberry32(seed)
  return Object.fromEntries(freeInputs(model.graph).map((input) => [input.name, randomTensor(input, random, batch)]))
}

/** The runtime's names of data types. */
export const RUNTIME_TYPE: Readonly<Record<string, string>> = {
  FLOAT: 'float32',
  INT64: 'int64',
  INT32: 'int32',
  BOOL: 'bool',
  UINT8: 'uint8',
  INT8: 'int8',
}

export async function runModel(source: Uint8Array | string, feeds: Feeds): Promise<Outputs> {
  const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const
  const session =
    typeof source === 'string'
      ? await InferenceSession.create(source, options)
      : await InferenceSession.create(source, options)
  try {
    return (await session.run(feeds)) as Outputs
  } finally {
    await session.release()
  }
}

export function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function randomTensor(input: ValueInfo, random: () => number, batch: number): RuntimeTensor {
  if (input.type?.kind !== 'tensor') throw new Error(`input ${input.name} is no tensor`)
  const dims = (input.type.shape ?? []).map((dim) => (typeof dim === 'number' ? dim : (SYMBOLS[dim ?? ''] ?? batch)))
  const count = dims.reduce((product, dim) => product * dim, 1)
  if (input.type.dataType === 'INT64') {
    // "sr" is a sample rate, everything else integer here is token ids.
    const values = BigInt64Array.from({ length: count }, () =>
      input.name === 'sr' ? 16000n : BigInt(Math.floor(random() * 100)),
    )
    return new RuntimeTensor('int64', values, dims)
  }
  return new RuntimeTensor(
    'float32',
    Float32Array.from({ length: count }, () => random() * 2 - 1),
    dims,
  )
}
