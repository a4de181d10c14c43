import { EdgefitError } from '@edgefit/shared'
import type { PredictCuts } from './cut-predictor.ts'
import { largestCounts } from './largest-count.ts'
import { leastKept, type RankedGroup, removedIds } from './rank-channels.ts'

export interface LatencyGoal {
  /** Predicted latency to get down to, given that of the whole model. */
  readonly latencyMs: (wholeMs: number) => number
  readonly steps: number
}

export interface ShrinkPorts {
  readonly predict: PredictCuts
  /** What the outputs lose without these channels: 0 for nothing. */
  readonly lossOf: (removed: ReadonlySet<number>) => Promise<number>
  /** Milliseconds saved so far, of those to save. */
  readonly onProgress: (savedMs: number, goalMs: number) => void
  readonly signal: AbortSignal
}

/** Counts of channels kept of each group, and what they come to. */
interface Shrunk {
  readonly kept: readonly number[]
  readonly latencyMs: number
  readonly loss: number
}

export interface ShrunkToGoal extends Shrunk {
  readonly wholeMs: number
}

/** Judging takes the longest: no more groups than these are judged in a step. */
const JUDGED_PER_STEP = 8

/** Where no group can save a step's time, smaller steps are tried, down to this share of the first. */
const SMALLEST_STEP = 1 / 16

/**
 * Takes channels, group by group, until the model is predicted to be as fast as wanted (Yang et al., "NetAdapt"): in each
 * step, for every group the largest count that saves at least a step's time, and of those the one whose outputs lose
 * least for what it saves.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when the goal cannot be reached, with what can.
 */
export async function shrinkToLatency(
  ranked: readonly RankedGroup[],
  { latencyMs: goalOf, steps }: LatencyGoal,
  ports: ShrinkPorts,
): Promise<ShrunkToGoal> {
  const whole = ranked.map(({ order }) => order.length)
  const least = ranked.map(({ group }) => leastKept(group))
  const [wholeMs = 0, leastMs = 0] = await ports.predict([new Set(), removedIds(ranked, least)])
  const goalMs = goalOf(wholeMs)
  if (leastMs > goalMs) throw unreachable(wholeMs, goalMs, leastMs)
  let at: Shrunk = { kept: whole, latencyMs: wholeMs, loss: 0 }
  let stepMs = (wholeMs - goalMs) / steps
  const smallestMs = stepMs * SMALLEST_STEP
  while (at.latencyMs > goalMs) {
    const wantedMs = Math.min(stepMs, at.latencyMs - goalMs)
    const next = await bestStep(ranked, at, { limitMs: at.latencyMs - wantedMs, goalMs }, ports)
    if (next !== undefined) {
      at = next
      ports.onProgress(Math.min(wholeMs - at.latencyMs, wholeMs - goalMs), wholeMs - goalMs)
    } else if (wantedMs <= smallestMs) throw unreachable(wholeMs, goalMs, at.latencyMs)
    else stepMs = wantedMs / 2
  }
  return { ...at, wholeMs }
}

interface Wanted {
  readonly limitMs: number
  readonly goalMs: number
}

interface Candidate extends Omit<Shrunk, 'loss'> {
  /** Saved; what goes beyond the goal is worth nothing. */
  readonly usefulMs: number
  /** Of the channels that go. */
  readonly importance: number
}

async function bestStep(
  ranked: readonly RankedGroup[],
  at: Shrunk,
  wanted: Wanted,
  { predict, lossOf, signal }: ShrinkPorts,
): Promise<Shrunk | undefined> {
  let best: (Shrunk & { readonly lossPerMs: number }) | undefined
  for (const { kept, latencyMs, usefulMs } of await candidates(ranked, at, wanted, predict)) {
    signal.throwIfAborted()
    const loss = await lossOf(removedIds(ranked, kept))
    const lossPerMs = (loss - at.loss) / usefulMs
    if (best === undefined || lossPerMs < best.lossPerMs) best = { kept, latencyMs, loss, lossPerMs }
  }
  return best
}

/** For each group the largest count that will do; those first that lose least importance for what they save. */
async function candidates(
  ranked: readonly RankedGroup[],
  at: Shrunk,
  { limitMs, goalMs }: Wanted,
  predict: PredictCuts,
): Promise<readonly Candidate[]> {
  const searches = ranked.flatMap(({ group, scores, order }, position) => {
    const now = at.kept[position] ?? 0
    const low = leastKept(group)
    return low < now ? [{ position, scores, order, low, high: now - 1, limitMs }] : []
  })
  const found = await largestCounts(searches, (asked) =>
    predict(asked.map(({ search, count }) => removedIds(ranked, at.kept.with(searches[search]?.position ?? 0, count)))),
  )
  return searches
    .flatMap(({ position, scores, order, high }, search) => {
      const step = found[search]
      if (step === undefined) return []
      const goes = order.slice(order.length - high - 1, order.length - step.count)
      const importance = goes.reduce((sum, channel) => sum + (scores[channel] ?? 0), 0)
      const kept = at.kept.with(position, step.count)
      const usefulMs = at.latencyMs - Math.max(goalMs, step.latencyMs)
      return [{ kept, latencyMs: step.latencyMs, usefulMs, importance }]
    })
    .sort((a, b) => a.importance / a.usefulMs - b.importance / b.usefulMs)
    .slice(0, JUDGED_PER_STEP)
}

function unreachable(wholeMs: number, goalMs: number, leastMs: number): EdgefitError {
  const ms = (value: number): string => `${Number(value.toPrecision(3))} ms`
  return new EdgefitError(
    `removing channels is predicted to save at most ${ms(wholeMs - leastMs)} of ${ms(wholeMs)}, and ${ms(wholeMs - goalMs)} were asked for; ask for less in "target"`,
    { code: 'MODEL_UNSUPPORTED', details: { wholeMs, goalMs, leastMs } },
  )
}
