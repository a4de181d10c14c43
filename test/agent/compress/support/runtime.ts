import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { encodeModel, loadModel, type Model } from '@edgefit/shared/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { FeedTensor, OpenSession, OptimizedGraph, OutputTensor } from '../../../../agent/compress/runtime-port.ts'

/** The real runtime, in this process. */
export const openSession: OpenSession = async (model, { graphOptimization, threads }) => {
  const session = await InferenceSession.create(model, {
    graphOptimizationLevel: graphOptimization,
    intraOpNumThreads: threads,
    executionMode: 'sequential',
    logSeverityLevel: 3,
  })
  return {
    run: async (feeds) => {
      const outputs = await session.run(tensorsOf(feeds))
      return Object.fromEntries(
        Object.entries(outputs).map(([name, { type, dims, data }]) => [name, { type, dims, data } as OutputTensor]),
      )
    },
    release: () => session.release(),
  }
}

/** One run with the optimizations an application gets. */
export async function run(
  model: Model,
  feeds: Readonly<Record<string, FeedTensor>>,
  graphOptimization: 'disabled' | 'all' = 'all',
): Promise<Readonly<Record<string, OutputTensor>>> {
  const session = await openSession(encodeModel(model), { graphOptimization, threads: 1 })
  try {
    return await session.run(feeds)
  } finally {
    await session.release()
  }
}

/**
 * The graph as the runtime would execute it, before steps that only some CPUs take.
 *
 * `arm`: with int8 activations kept as they are, which the runtime does on ARM; on x64 it turns them into uint8 first.
 */
export async function optimized(model: Model | Uint8Array, { arm = false } = {}): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-optimized-'))
  try {
    const path = join(folder, 'model.onnx')
    const bytes = model instanceof Uint8Array ? model : encodeModel(model)
    const session = await InferenceSession.create(bytes, {
      graphOptimizationLevel: 'extended',
      optimizedModelFilePath: path,
      intraOpNumThreads: 1,
      logSeverityLevel: 3,
      ...(arm ? { extra: { session: { qdqisint8allowed: '1' } } } : {}),
    })
    await session.release()
    return await loadModel(path)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** {@link optimized}, as the compression passes ask for it. */
export const executedGraph: OptimizedGraph = async (model) => {
  try {
    return await optimized(model)
  } catch (cause) {
    throw new EdgefitError(`the runtime refused the model: ${String(cause)}`, { code: 'MODEL_UNSUPPORTED', cause })
  }
}

export function operatorCounts(model: Model): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { opType } of model.graph.nodes) counts[opType] = (counts[opType] ?? 0) + 1
  return counts
}

export function float32(dims: readonly number[], data: Float32Array): FeedTensor {
  return { type: 'float32', dims, data }
}

function tensorsOf(feeds: Readonly<Record<string, FeedTensor>>): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { type, dims, data }]) => [name, new Tensor(type, data as never, dims)]),
  )
}

/** Largest difference between two outputs, relative to the largest value of the first. */
export function relativeError(expected: OutputTensor | undefined, actual: OutputTensor | undefined): number {
  if (expected === undefined || actual === undefined || expected.data.length !== actual.data.length) return Infinity
  let largest = 1e-30
  let error = 0
  for (let index = 0; index < expected.data.length; index++) {
    const value = Number(expected.data[index])
    largest = Math.max(largest, Math.abs(value))
    error = Math.max(error, Math.abs(value - Number(actual.data[index])))
  }
  return Number.isNaN(error) ? Infinity : error / largest
}
