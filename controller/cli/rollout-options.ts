import { EdgefitError } from '@edgefit/shared'
import { MINIMIZABLE, OBJECTIVE_OPTIONS, type ObjectiveFlags, objectiveFromFlags } from '@edgefit/shared/model'
import { type Command, Option } from 'commander'
import type { RolloutInput } from '../rollout/rollout-input.ts'
import { cronExpression, durationS, integerIn, numberAbove, splitCounts } from './option-parsers.ts'

export interface RolloutFlags extends ObjectiveFlags {
  readonly model: string
  readonly data: string
  readonly selector: string
  readonly slot: string
  readonly budgetS: number
  readonly seed: number
  readonly split?: { readonly calibration: number; readonly tuning: number; readonly evaluation: number }
  readonly rebenchmark?: string
  readonly window?: string
  readonly windowLength?: number
}

/** The same names as `edgefit-agent optimize` has for the same things. */
export function addRolloutOptions(command: Command): Command {
  command
    .requiredOption('--model <name>', 'NAME (its newest version) or NAME@VERSION')
    .requiredOption('--data <name>', 'NAME (its newest version) or NAME@VERSION')
    .requiredOption('--selector <terms>', '"all", or terms that must all hold: site=lab,arch=arm64')
  for (const [name, { flags, description, max }] of Object.entries(OBJECTIVE_OPTIONS)) {
    const option = new Option(flags, description).argParser(numberAbove(0, max))
    command.addOption(option.makeOptionMandatory(name === 'latencyP90Ms'))
  }
  return command
    .addOption(new Option('--minimize <what>', 'what to minimize').choices(MINIMIZABLE).default('latency'))
    .option('--slot <name>', 'place on the box for one active model', 'default')
    .addOption(
      new Option('--budget-s <s>', 'no trial starts after this many seconds')
        .argParser(integerIn(1, 604_800))
        .default(600),
    )
    .addOption(new Option('--seed <n>', 'seed of the dataset split').argParser(integerIn(0, 2 ** 31 - 1)).default(0))
    .addOption(new Option('--split <counts>', 'samples: CALIBRATION,TUNING,EVALUATION').argParser(splitCounts))
    .addOption(
      new Option('--rebenchmark <cron>', 'measure again, as in "0 3 * * *" (local time of the box)').argParser(
        cronExpression,
      ),
    )
    .addOption(
      new Option('--window <cron>', 'search and activate only from here on, as in "0 1 * * *"').argParser(
        cronExpression,
      ),
    )
    .addOption(
      new Option('--window-length <duration>', 'how long the window stays open, as in 2h').argParser(durationS),
    )
}

/** @throws EdgefitError USAGE for options that do not go together, or an objective that is none */
export function rolloutInput(flags: RolloutFlags): RolloutInput {
  const { model, data: dataset, selector, slot, budgetS, seed, split } = flags
  return {
    model,
    dataset,
    selector,
    slot,
    objective: objectiveFromFlags(flags),
    ...(split !== undefined && { split: { seed, ...split } }),
    search: { budgetS, seed },
    schedule: { rebenchmarkCron: flags.rebenchmark ?? null, maintenance: maintenanceOf(flags) },
  }
}

function maintenanceOf({ window, windowLength }: RolloutFlags): { cron: string; durationMin: number } | null {
  if (window === undefined && windowLength === undefined) return null
  if (window === undefined || windowLength === undefined)
    throw new EdgefitError('--window and --window-length go together: give both or neither', { code: 'USAGE' })
  const durationMin = windowLength / 60
  if (!Number.isInteger(durationMin) || durationMin < 1 || durationMin > 1440)
    throw new EdgefitError('--window-length must be whole minutes, from 1m to 24h', { code: 'USAGE' })
  return { cron: window, durationMin }
}
