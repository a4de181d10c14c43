/** Updates whose losses are averaged: single batches are too noisy to judge by. */
const WINDOW = 16
/** Times the loss at the start, from which on training is beyond recovery. */
const EXPLODED = 4
/** A loss near zero at the start may well rise a little. */
const SMALLEST_FIRST = 0.1
/** While one batch alone says how large the loss is at the start: of a few samples it may be small by luck. */
const SMALLEST_SINGLE = 1

/** Tells from the losses of a run whether it has got out of hand. */
export interface LossWatch {
  /** Takes the loss and gradient norm of one update. @returns what is wrong, if anything */
  see(loss: number, gradientNorm: number): string | undefined
  /** Forgets the last losses, after weights were put back. */
  restart(): void
  state(): LossWatchState
}

export interface LossWatchState {
  /** Mean loss of the first full window. */
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
      const start = first ?? recent[0] ?? loss
      const sum = recent.reduce((total, value) => total + value, 0)
      // A window that is not full yet is filled up with the loss at the start: one bad batch is no trend.
      const mean = (sum + (WINDOW - recent.length) * start) / WINDOW
      if (mean > EXPLODED * Math.max(start, first === undefined ? SMALLEST_SINGLE : SMALLEST_FIRST)) {
        return `the loss rose from ${start.toPrecision(3)} to ${(sum / recent.length).toPrecision(3)}`
      }
      if (recent.length === WINDOW) first ??= mean
      return undefined
    },
    restart() {
      recent = []
    },
    state: () => ({ first, recent }),
  }
}
