/** Where a run of training stands. */
export interface Standing {
  /** Made so far, of `updates`. In the midst of one that takes several batches, with the share of it that is done. */
  readonly update: number
  readonly updates: number
  /** Of the last update. */
  readonly loss: number | null
  /** On the tuning split at the last look, and the best so far. */
  readonly score: number | null
  readonly bestScore: number | null
  readonly remainingMs: number | null
}

/** What training is at. */
export type TrainingProgress =
  /** The teacher is asked about the samples that will be drawn, once. */
  | { readonly doing: 'asking'; readonly samples: number; readonly total: number }
  | { readonly doing: 'updating'; readonly at: Standing }
  /** The tuning split says how good the weights are; `share` of it has. */
  | { readonly doing: 'looking'; readonly at: Standing; readonly share: number }
  /** Waiting for the box to become cooler. */
  | { readonly doing: 'cooling'; readonly at: Standing; readonly celsius: number; readonly waitedMs: number }

type Seen = Pick<Standing, 'update' | 'loss' | 'score' | 'bestScore'>

/** Keeps where a run stands, and at which pace it goes: that of this run alone, which may go on from an earlier one. */
export interface Teller {
  /** What is known after `update` updates. */
  see(seen: Seen): void
  /** @param share of the next update that is done */
  standing(share?: number): Standing
}

/** @param workedMs time spent at work, pauses left out */
export function createTeller(updates: number, workedMs: () => number): Teller {
  let seen: Seen = { update: 0, loss: null, score: null, bestScore: null }
  let begun: { readonly update: number; readonly ms: number } | undefined
  return {
    see(now) {
      // Until the first update is made, time has gone by for other things than updates.
      if (begun === undefined || now.update === begun.update) begun = { update: now.update, ms: workedMs() }
      seen = now
    },
    standing(share = 0) {
      const update = seen.update + share
      const made = update - (begun?.update ?? update)
      const spentMs = workedMs() - (begun?.ms ?? 0)
      return { ...seen, update, updates, remainingMs: made > 0 ? (spentMs / made) * (updates - update) : null }
    },
  }
}

/** How much of the updates is done, 0 to 1. */
export function trainingShare(progress: TrainingProgress): number {
  return progress.doing === 'asking' ? 0 : progress.at.update / progress.at.updates
}

/** One line for people. What matters most comes first: narrow terminals cut the rest. */
export function trainingWords(progress: TrainingProgress): string {
  if (progress.doing === 'asking') return `asking the teacher, sample ${progress.samples} of ${progress.total}`
  const { at } = progress
  const standing = `update ${Math.floor(at.update)} of ${at.updates}`
  switch (progress.doing) {
    case 'looking':
      return [standing, `looking at the tuning split, ${Math.round(100 * progress.share)} %`, ...figures(at)].join(', ')
    case 'cooling':
      return [standing, `paused for ${duration(progress.waitedMs)} at ${progress.celsius} °C`, ...figures(at)].join(
        ', ',
      )
    case 'updating': {
      const left = at.remainingMs === null ? [] : [`about ${duration(at.remainingMs)} left`]
      return [standing, ...left, ...figures(at)].join(', ')
    }
  }
}

function figures({ loss, score, bestScore }: Standing): readonly string[] {
  const percent = (share: number): string => `${(100 * share).toFixed(2)} %`
  const best = bestScore === null ? '' : ` (best ${percent(bestScore)})`
  return [
    ...(loss === null ? [] : [`loss ${loss.toPrecision(3)}`]),
    ...(score === null ? [] : [`${percent(score)} on tuning${best}`]),
  ]
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`
}
