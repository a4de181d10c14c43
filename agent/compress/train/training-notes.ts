import type { TrainingPlan } from './plan.ts'
import { settledAt } from './sparsity.ts'
import type { StepWithin } from './step-within.ts'
import type { TrainingState } from './training-state.ts'

interface Ran {
  readonly within: StepWithin
  /** Why it ended before its updates were made, where that was neither patience nor success. */
  readonly ended: string | undefined
  readonly unwritten: string | undefined
  readonly pausedMs: number
  readonly lacksSensor: boolean
  readonly peakMib: number | undefined
}

/** What people should know of a run: why it ended early, rates that were halved, weights that stayed and why. */
export function notesOf(state: TrainingState, plan: TrainingPlan, ran: Ran): readonly string[] {
  const { update, halvings, looksWithoutBetter, best } = state
  const { updates, patience, sparsity, batch, maxMemoryMib } = plan
  const { within, ended, unwritten, pausedMs, lacksSensor, peakMib } = ran
  const early = `training ended after ${update} of ${updates} updates`
  const outOfPatience = looksWithoutBetter >= patience && update < updates
  return [
    ...noteIf(ended !== undefined, `${early}: ${ended}`),
    ...noteIf(outOfPatience, `${early}: ${patience} looks at the tuning split without a better score`),
    ...noteIf(
      sparsity !== undefined && best.update < settledAt(sparsity, updates),
      `the weights are those after update ${best.update}, and not as sparse as the recipe wants: training ended before ` +
        'it had looked at sparser ones; give it more time, or fewer "updates"',
    ),
    ...noteIf(best.update === 0, 'no update made the model better on the tuning split: its weights are as they were'),
    ...noteIf(halvings > 0, `training got out of hand ${halvings} times; the rate was halved each time`),
    ...noteIf(
      within.parts > 1,
      `batches of ${batch} went through in ${within.parts} parts, to stay within ${maxMemoryMib} MiB; predicted: ` +
        `${within.memoryMib.toFixed(0)} MiB`,
    ),
    ...noteIf(
      maxMemoryMib !== undefined && peakMib !== undefined && peakMib > maxMemoryMib,
      `the process took ${peakMib?.toFixed(0)} MiB, more than "maxMemoryMib": the prediction fell short; lower it`,
    ),
    ...noteIf(pausedMs > 0, `paused for ${(pausedMs / 1000).toFixed(0)} s in all, while the box was too hot`),
    ...noteIf(lacksSensor, '"pauseAboveCelsius" had no effect: no temperature sensor can be read on this box'),
    ...[...within.step.frozen].map(([weight, reason]) => `"${weight}" was not trained: ${reason}`),
    ...noteIf(unwritten !== undefined, `training cannot go on from here after a crash: ${unwritten}`),
  ]
}

function noteIf(holds: boolean, note: string): readonly string[] {
  return holds ? [note] : []
}
