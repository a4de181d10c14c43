import { EdgefitError } from '@edgefit/shared'
import type { RuntimeSettings } from '@edgefit/shared/model'
import { dataSizeBytes, encodeModel, initializerBytes, type Node } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import type { ExecutedGraph } from '../compress/latency/executed-graph.ts'
import type { OperatorTime } from '../compress/latency/latency-table.ts'
import { emptyModel, repeatedOperator, type TimedModel } from '../compress/latency/repeated-operator.ts'
import { clamp } from './clamp.ts'
import { madeUpFeeds } from './made-up-feeds.ts'
import { type LoadedModel, loadExecuted, type Query } from './ort-session.ts'
import { type Quietest, quietestBlocks } from './quietest-block.ts'

/** One operator to time, as `operatorAlone` cuts it out. */
export interface OperatorCase {
  readonly key: string
  readonly executed: ExecutedGraph
  readonly node: Node
}

export interface OperatorTimes {
  readonly emptyRunMs: number
  readonly times: Readonly<Record<string, OperatorTime>>
}

export interface TimingPorts {
  /** Runs what may end this process. */
  readonly guarded: <Value>(key: string, action: () => Promise<Value>) => Promise<Value>
  readonly signal: AbortSignal
}

/** Copies make an operator of a microsecond long enough for the clock, and keep one's weights from staying in cache. */
const MIN_COPIES = 4
const MAX_COPIES = 64
const COPIES_MS = 0.5
const PILOT_COPIES = 2
const PILOT_RUNS = 5
/** Of constants and values, for one operator with its copies, and for all that are open at once. */
const COPIES_BYTES = 32 * 2 ** 20
const OPEN_BYTES = 128 * 2 ** 20

/**
 * Times operators, each alone in a model of many copies of it: a run's time, less that of an empty run, over the copies.
 * So it holds what the runtime spends around a kernel, and not what its profiler adds: of the 3 µs that a profiled Reshape
 * seems to take, 2.9 are the profiler's.
 *
 * Whole models that are compared with a prediction are to be timed the same way, by {@link quietestBlocks}.
 */
export async function timeOperators(
  cases: readonly OperatorCase[],
  runtime: RuntimeSettings,
  { guarded, signal }: TimingPorts,
): Promise<OperatorTimes> {
  const [first] = cases
  if (first === undefined) return { emptyRunMs: Number.POSITIVE_INFINITY, times: {} }
  const empty = await open(emptyModel(first.executed), runtime)
  let emptyRunMs = Number.POSITIVE_INFINITY
  const timed: (Opened & { readonly key: string; readonly copies: number })[] = []
  const times: Record<string, OperatorTime> = {}
  const release = async () => {
    for (const { loaded } of timed.splice(0)) await loaded.release()
  }
  const timeOpened = async () => {
    const blocks = await quietestBlocks(
      [empty, ...timed].map(({ query }) => query),
      signal,
    )
    const [emptyMs = 0, ...runsMs] = blocks.map((block) => undisturbedMs(block, runtime))
    emptyRunMs = Math.min(emptyRunMs, emptyMs)
    for (const [at, { key, copies }] of timed.entries()) {
      times[key] = { ms: Math.max(0, (runsMs[at] ?? 0) - emptyRunMs) / copies }
    }
    await release()
  }
  try {
    let openBytes = 0
    for (const one of cases) {
      signal.throwIfAborted()
      const made = await orReason(() => guarded(one.key, () => openCopies(one, runtime)))
      if ('reason' in made) {
        times[one.key] = made
        continue
      }
      timed.push({ ...made, key: one.key })
      openBytes += made.copies * copyBytes(one)
      if (openBytes >= OPEN_BYTES) {
        await timeOpened()
        openBytes = 0
      }
    }
    await timeOpened()
    return { emptyRunMs, times }
  } finally {
    await release()
    await empty.loaded.release()
  }
}

/**
 * On one thread nothing waits, so that the CPU time of a run is what it would take undisturbed. Where others always take
 * turns with this process, as in runs longer than the kernel's time slice on a busy box, that is closer than the clock.
 */
function undisturbedMs({ ms, cpuMs }: Quietest, { intraOpThreads }: RuntimeSettings): number {
  return intraOpThreads === 1 ? Math.min(ms, cpuMs) : ms
}

interface Opened {
  readonly loaded: LoadedModel
  readonly query: Query
}

async function open({ model }: TimedModel, runtime: RuntimeSettings): Promise<Opened> {
  const loaded = await loadExecuted(encodeModel(model), runtime)
  try {
    const query = loaded.bind(madeUpFeeds(loaded.inputs, seededRandom(1)))
    // The first run plans memory, and shows whether there is a kernel for the values at hand.
    await query.run()
    return { loaded, query }
  } catch (error) {
    await loaded.release()
    throw error
  }
}

async function openCopies(one: OperatorCase, runtime: RuntimeSettings): Promise<Opened & { readonly copies: number }> {
  const { executed, node } = one
  const pilot = await open(repeatedOperator(executed, node, PILOT_COPIES), runtime)
  const runsMs: number[] = []
  try {
    for (let run = 0; run < PILOT_RUNS; run += 1) runsMs.push(await pilot.query.timeMs())
  } finally {
    await pilot.loaded.release()
  }
  const wanted = clamp((COPIES_MS * PILOT_COPIES) / Math.min(...runsMs), MIN_COPIES, MAX_COPIES)
  const copies = Math.min(wanted, Math.max(PILOT_COPIES, Math.floor(COPIES_BYTES / copyBytes(one))))
  return { ...(await open(repeatedOperator(executed, node, copies), runtime)), copies }
}

function copyBytes({ executed: { model, values } }: OperatorCase): number {
  const others = [...values.values()].map(({ dataType, dims }) => dataSizeBytes(dataType, dims))
  return others.reduce((sum, size) => sum + size, 1 + initializerBytes(model.graph))
}

/** The runtime's refusal is an answer; whatever else fails is not the operator's fault. */
async function orReason<Value extends object>(
  action: () => Promise<Value>,
): Promise<Value | { readonly reason: string }> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof EdgefitError && error.code === 'MODEL_UNSUPPORTED') return { reason: error.message }
    throw error
  }
}
