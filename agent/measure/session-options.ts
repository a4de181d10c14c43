import type { RuntimeSettings } from '@edgefit/shared/model'

/** Options of `InferenceSession.create` in onnxruntime-node. Nested keys of `extra` join to `session.intra_op.…`. */
export interface SessionOptions {
  readonly executionProviders: readonly ['cpu']
  readonly intraOpNumThreads: number
  readonly interOpNumThreads: 1
  readonly executionMode: 'sequential'
  readonly graphOptimizationLevel: 'disabled' | 'basic' | 'extended' | 'all'
  readonly enableCpuMemArena: boolean
  readonly extra: { readonly session: { readonly intra_op: { readonly allow_spinning: '0' | '1' } } }
}

/**
 * What an application must pass to load a variant as it was measured; also what the measurement itself passes. The
 * runtime ignores keys that it does not know: tests watch these work.
 */
export function sessionOptions(runtime: RuntimeSettings): SessionOptions {
  return {
    executionProviders: ['cpu'],
    intraOpNumThreads: runtime.intraOpThreads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableCpuMemArena: runtime.memoryArena,
    extra: { session: { intra_op: { allow_spinning: runtime.allowSpinning ? '1' : '0' } } },
  }
}
