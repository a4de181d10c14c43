import { access, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { type RuntimeSettings, TENSOR_TYPES, type TensorSpec } from '@edgefit/shared/model'
import { loadModel as readGraph } from '@edgefit/shared/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type {
  FeedTensor,
  OpenSession,
  OptimizedGraph,
  OutputTensor,
  RuntimeTensorType,
} from '../compress/runtime-port.ts'
import { type SessionOptions, sessionOptions } from './session-options.ts'

// The only file that loads onnxruntime-node. Reached from worker.ts alone: a fault of the runtime must end a child,
// never the agent.

export type Feeds = Readonly<Record<string, FeedTensor>>
export type Outputs = Readonly<Record<string, OutputTensor>>

/** Inputs bound once, so that a timed run is the runtime's and not the copying of its inputs. */
export interface Query {
  run(): Promise<Outputs>
  /** Wall-clock time of one run as an application sees it, in ms. */
  timeMs(): Promise<number>
}

export interface LoadedModel {
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  readonly loadMs: number
  /** `feeds` are shared with the query: do not write them while it is in use. */
  bind(feeds: Feeds): Query
  /** Frees the native memory; the last call. */
  release(): Promise<void>
}

/** @throws EdgefitError NOT_FOUND, MODEL_UNSUPPORTED when the runtime refuses the file, TRIAL_FAILED without memory */
export async function loadModel(path: string, runtime: RuntimeSettings): Promise<LoadedModel> {
  try {
    await access(path)
  } catch (cause) {
    throw new EdgefitError(`cannot read the model ${path}`, { code: 'NOT_FOUND', cause })
  }
  return await timedLoad(() => create(path, sessionOptions(runtime)))
}

/** A graph that the runtime has optimized before, given in memory, as it is. */
export function loadExecuted(model: Uint8Array, runtime: RuntimeSettings): Promise<LoadedModel> {
  return timedLoad(() => create(model, { ...sessionOptions(runtime), graphOptimizationLevel: 'disabled' }))
}

/** {@link loadModel} of a file in memory: nothing is written to the box's disk. */
export function loadModelBytes(bytes: Uint8Array, runtime: RuntimeSettings): Promise<LoadedModel> {
  return timedLoad(() => create(bytes, sessionOptions(runtime)))
}

async function timedLoad(open: () => Promise<InferenceSession>): Promise<LoadedModel> {
  const start = process.hrtime.bigint()
  const session = await open()
  const loadMs = elapsedMs(start)
  const inputs = session.inputMetadata.map(specOf)
  const outputs = session.outputMetadata.map(specOf)
  return {
    inputs,
    outputs,
    loadMs,
    bind(feeds) {
      const bound = bindFeeds(feeds)
      return {
        run: async () => collect(await explained(() => session.run(bound))),
        async timeMs() {
          const before = process.hrtime.bigint()
          await session.run(bound)
          return elapsedMs(before)
        },
      }
    },
    release: () => session.release(),
  }
}

/** The adapter that compression calibrates with. */
export const openSession: OpenSession = async (model, { graphOptimization, threads, memoryPattern = true }) => {
  const settings = { intraOpThreads: threads, allowSpinning: false, memoryArena: true }
  const options = { ...sessionOptions(settings), graphOptimizationLevel: graphOptimization }
  const session = await create(model, { ...options, enableMemPattern: memoryPattern })
  return {
    run: async (feeds) => collect(await explained(() => session.run(bindFeeds(feeds)))),
    release: () => session.release(),
  }
}

/**
 * The adapter that fusion is verified with. The runtime only writes such a graph to a file: a passing one in `folder`.
 *
 * @param level 'all' for the graph that runs on this box and on no other, by default without the steps that only some
 * CPUs take
 */
export function optimizedGraphIn(folder: string, level: 'extended' | 'all' = 'extended'): OptimizedGraph {
  return async (model) => {
    const scratch = await mkdtemp(join(folder, '.optimized-'))
    try {
      const optimizedModelFilePath = join(scratch, 'model.onnx')
      const settings = { intraOpThreads: 1, allowSpinning: false, memoryArena: false }
      const options = { ...sessionOptions(settings), graphOptimizationLevel: level }
      const session = await create(model, { ...options, optimizedModelFilePath })
      await session.release()
      return await readGraph(optimizedModelFilePath)
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  }
}

function create(
  model: string | Uint8Array,
  options: SessionOptions & Pick<InferenceSession.SessionOptions, 'enableMemPattern' | 'optimizedModelFilePath'>,
): Promise<InferenceSession> {
  // Warnings of the runtime (severity 2) are about models, not about this box: only errors go to stderr.
  const given: InferenceSession.SessionOptions = { ...options, executionProviders: ['cpu'], logSeverityLevel: 3 }
  return explained(() =>
    typeof model === 'string' ? InferenceSession.create(model, given) : InferenceSession.create(model, given),
  )
}

/** The runtime throws plain errors: its words are kept, as the reason a model is refused. */
async function explained<Value>(action: () => Promise<Value>): Promise<Value> {
  try {
    return await action()
  } catch (cause) {
    const words = cause instanceof Error ? cause.message : String(cause)
    if (/bad[ _]alloc|bad allocation|failed to allocate memory|Array buffer allocation failed/i.test(words)) {
      throw new EdgefitError(`the runtime found no memory: ${words}`, {
        code: 'TRIAL_FAILED',
        details: { reason: 'out-of-memory' },
        cause,
      })
    }
    throw new EdgefitError(`the runtime refused the model: ${words}`, { code: 'MODEL_UNSUPPORTED', cause })
  }
}

function specOf(metadata: InferenceSession.ValueMetadata): TensorSpec {
  if (!metadata.isTensor) {
    throw new EdgefitError(`${metadata.name} is no tensor: models with sequences or maps cannot be measured`, {
      code: 'MODEL_UNSUPPORTED',
    })
  }
  const { name } = metadata
  // The runtime gives '' for a dimension that is neither fixed nor named.
  const dims = metadata.shape.map((dim) => (dim === '' ? null : dim))
  return { name, type: tensorType(metadata.type, name), dims }
}

function tensorType(type: string, name: string): RuntimeTensorType {
  const known = TENSOR_TYPES.find((candidate) => candidate === type)
  if (known !== undefined) return known
  throw new EdgefitError(`${name} is of type ${type}, which cannot be fed from a dataset`, {
    code: 'MODEL_UNSUPPORTED',
  })
}

function bindFeeds(feeds: Feeds): Record<string, Tensor> {
  const bound: Record<string, Tensor> = {}
  for (const [name, { type, dims, data }] of Object.entries(feeds)) bound[name] = new Tensor(type, data, dims)
  return bound
}

function collect(outputs: InferenceSession.OnnxValueMapType): Outputs {
  const collected: Record<string, OutputTensor> = {}
  for (const [name, value] of Object.entries(outputs)) {
    const { data, dims, type } = value
    if (Array.isArray(data)) {
      throw new EdgefitError(`output ${name} holds text, which has no accuracy`, { code: 'MODEL_UNSUPPORTED' })
    }
    collected[name] = { type: tensorType(type, name), dims, data }
  }
  return collected
}

function elapsedMs(start: bigint): number {
  return Number(process.hrtime.bigint() - start) / 1e6
}
