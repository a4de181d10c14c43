/** More counts than these are looked at by steps of 2, 4, 8 … first, and one by one only around what is found. */
const LOOKED_AT = 16

interface FoundCount {
  readonly count: number
  readonly latencyMs: number
}

/**
 * The largest count from `low` to `high` with which a model runs in `limitMs`: yields counts to predict, takes their
 * latencies, and gives nothing where not even `low` will do.
 *
 * Latency is no monotone function of a count of channels: kernels work in blocks, and 62 channels may take longer than
 * 64. So counts are looked at one after the other from the top, and the first that will do is the fast edge of its step:
 * no larger one, among those looked at, is as fast.
 */
function* largestCount(low: number, high: number, limitMs: number): Generator<number, FoundCount | undefined, number> {
  const lowest = yield low
  if (!(lowest <= limitMs)) return undefined
  let found: FoundCount = { count: low, latencyMs: lowest }
  let step = 1
  while ((high - low) / step > LOOKED_AT) step *= 2
  for (let count = high - (high % step); count > low; count -= step) {
    const latencyMs = yield count
    if (latencyMs <= limitMs) {
      found = { count, latencyMs }
      break
    }
  }
  for (let half = step / 2; half >= 1; half /= 2) {
    const count = found.count + half
    if (count > high) continue
    const latencyMs = yield count
    if (latencyMs <= limitMs) found = { count, latencyMs }
  }
  return found
}

export interface CountSearch {
  readonly low: number
  readonly high: number
  readonly limitMs: number
}

/** A count of the search at position `search`. */
export interface AskedCount {
  readonly search: number
  readonly count: number
}

/** Does so for several searches side by side, so that few calls predict much. */
export async function largestCounts(
  searches: readonly CountSearch[],
  predict: (asked: readonly AskedCount[]) => Promise<readonly number[]>,
): Promise<readonly (FoundCount | undefined)[]> {
  const found: (FoundCount | undefined)[] = searches.map(() => undefined)
  let open = searches.map(({ low, high, limitMs }, search) => {
    const looking = largestCount(low, high, limitMs)
    return { search, looking, turn: looking.next() }
  })
  while (open.length > 0) {
    const asked = open.flatMap(({ search, turn }) => (turn.done ? [] : [{ search, count: turn.value }]))
    const latenciesMs = await predict(asked)
    const turns = open.map(({ search, looking }, at) => ({
      search,
      looking,
      turn: looking.next(latenciesMs[at] ?? Number.NaN),
    }))
    for (const { search, turn } of turns) if (turn.done) found[search] = turn.value
    open = turns.filter(({ turn }) => !turn.done)
  }
  return found
}
