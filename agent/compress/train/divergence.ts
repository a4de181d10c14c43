/** Updates whose losses are averaged: single batches are too noisy to judge by. */
const WINDOW = 16
/** Times the mean loss of the first window, from which on training is beyond recovery. */
const EXPLODED = 4
/** A loss near zero at the start may well rise a little. */
const SMALLEST_FIRST = 0.1

/** Tells from the losses of a run whether it has got out of hand. */
export interface LossWatch {
  /** Takes the loss and gradient norm of one update. @returns what is wrong, if anything */
  see(loss: number, gradientNorm: number): string | undefined
  /** Forgets the last losses, after weights were put back. */
  restart(): void
  state(): LossWatchState
}

export interface LossWatchState {
  /** Mean loss of the first window. */
  readonly first: number | undefined
  /** Of the last updates. */
  readonly recent: readonly number[]
}

export function watchLoss(from: LossWatchState): LossWatch {
  let { first, recent } = from
  return {
    see(loss, gradientNorm) {
      if (!Number.isFinite(loss)) return `the loss became ${loss}`
      if (!Number.isFinite(gradientNorm)) return `the gradients became ${gradientNorm}`
      recent = [...recent.slice(1 - WINDOW), loss]
      if (recent.length < WINDOW) return undefined
      const mean = recent.reduce((sum, value) => sum + value, 0) / WINDOW
      first ??= mean
      if (mean <= EXPLODED * Math.max(first, SMALLEST_FIRST)) return undefined
      return `the loss rose from ${first.toPrecision(3)} to ${mean.toPrecision(3)}`
    },
    restart() {
      recent = []
    },
    state: () => ({ first, recent }),
  }
}
