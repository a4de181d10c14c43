import type { RuntimeSettings } from '@edgefit/shared/model'
import { initializerBytes, type Model } from '@edgefit/shared/onnx'
import type { LatencyPredictor } from '../compress/latency/latency-predictor.ts'
import { operatorKey } from '../compress/latency/operator-key.ts'
import { type LatencyPrediction, predictLatency } from '../compress/latency/predict-latency.ts'
import { operatorAlone } from '../compress/latency/repeated-operator.ts'
import { executedGraphIn } from './executed-graph.ts'
import { type LatencyTableFile, openLatencyTable } from './latency-table-file.ts'
import { type OperatorCase, timeOperators } from './operator-timing.ts'
import { runtimeVersion } from './runtime-version.ts'

export interface TablePredictorOptions {
  /** Where tables are kept, one for each class of hardware, version of the runtime and runtime settings. */
  readonly folder: string
  readonly hardwareClass: string
  readonly runtime: RuntimeSettings
}

interface TablePrediction extends LatencyPrediction {
  /** Operators that were not in the table before this model. */
  readonly timedCount: number
}

export interface TablePredictor extends LatencyPredictor {
  /** As `predictMs`, with what the milliseconds rest on. */
  predict(models: readonly Model[], signal: AbortSignal): Promise<readonly TablePrediction[]>
}

/** How many operators are timed before their times are saved: they take turns, and a crash costs no more than these. */
const CASES_AT_ONCE = 48
const BYTES_AT_ONCE = 128 * 2 ** 20

/**
 * Predicts with this box's latency table and lets it grow: operators that it lacks are timed right away. For child
 * processes, since it loads the runtime; hold the measuring lock meanwhile.
 *
 * @throws EdgefitError INPUT_INVALID for a model with open lengths, MODEL_UNSUPPORTED for one that the runtime refuses,
 * DISK_FULL
 */
export function createTablePredictor({ folder, hardwareClass, runtime }: TablePredictorOptions): TablePredictor {
  let opened: LatencyTableFile | undefined
  const untimed = new Set<string>()
  const executedGraph = executedGraphIn(folder, runtime)

  async function predict(models: readonly Model[], signal: AbortSignal): Promise<readonly TablePrediction[]> {
    opened ??= openLatencyTable(folder, { hardwareClass, runtimeVersion: runtimeVersion(), runtime })
    const file = opened
    const pending = new Map<string, OperatorCase>()
    let pendingBytes = 0
    const settle = async (): Promise<void> => {
      if (pending.size === 0) return
      const timed = await timeOperators([...pending.values()], runtime, {
        guarded: file.guarded,
        signal,
      })
      await file.add(timed.emptyRunMs, timed.times)
      pending.clear()
      pendingBytes = 0
    }
    const seen: { readonly keys: readonly string[]; readonly timedCount: number }[] = []
    for (const model of models) {
      signal.throwIfAborted()
      const executed = await executedGraph(model)
      const keys: string[] = []
      let timedCount = 0
      for (const node of executed.model.graph.nodes) {
        const key = operatorKey(executed, node)
        keys.push(key)
        if (pending.has(key) || file.table().operators[key] !== undefined) continue
        const alone = operatorAlone(executed, node)
        pending.set(key, { key, executed: alone, node })
        pendingBytes += initializerBytes(alone.model.graph)
        timedCount += 1
        if (pending.size >= CASES_AT_ONCE || pendingBytes >= BYTES_AT_ONCE) await settle()
      }
      seen.push({ keys, timedCount })
    }
    await settle()
    const predictions = seen.map(({ keys, timedCount }) => ({ ...predictLatency(file.table(), keys), timedCount }))
    for (const { missing } of predictions) for (const { key } of missing) untimed.add(key.replace(/[@(].*/s, ''))
    return predictions
  }

  return {
    predict,
    untimedOperators: () => [...untimed],
    predictMs: async (models, signal) => (await predict(models, signal)).map(({ ms }) => ms),
  }
}
