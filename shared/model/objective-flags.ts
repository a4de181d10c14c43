import { EdgefitError } from '../errors.ts'
import { parseWith } from '../parse.ts'
import { Objective } from './objective.ts'

/** An objective as the command lines of both programs spell it: `--latency-p90-ms`, `--accuracy-floor` … */
export interface ObjectiveFlags {
  readonly latencyP90Ms: number
  readonly accuracyFloor?: number
  readonly accuracyMin?: number
  readonly maxMemoryMib?: number
  readonly maxSizeMib?: number
  readonly minimize: string
}

/** The numbers of an objective as options: each above 0 and at most `max`. */
export const OBJECTIVE_OPTIONS = {
  latencyP90Ms: { flags: '--latency-p90-ms <ms>', description: 'latency budget for the 90th percentile', max: 1e7 },
  accuracyFloor: {
    flags: '--accuracy-floor <ratio>',
    description: 'least accuracy, times that of fp32, as in 0.99',
    max: 1,
  },
  accuracyMin: { flags: '--accuracy-min <value>', description: 'least accuracy, absolute, as in 0.90', max: 1 },
  maxMemoryMib: { flags: '--max-memory-mib <n>', description: 'most resident memory', max: 1e7 },
  maxSizeMib: { flags: '--max-size-mib <n>', description: 'largest file', max: 1e7 },
} satisfies Record<Exclude<keyof ObjectiveFlags, 'minimize'>, object>

/** @throws EdgefitError USAGE for options that do not go together, or an objective that is none */
export function objectiveFromFlags(flags: ObjectiveFlags): Objective {
  const { latencyP90Ms, accuracyFloor, accuracyMin, maxMemoryMib, maxSizeMib, minimize } = flags
  if (accuracyFloor !== undefined && accuracyMin !== undefined)
    throw new EdgefitError('--accuracy-floor and --accuracy-min exclude each other: keep one', { code: 'USAGE' })
  return parseWith(
    Objective,
    {
      latencyP90Ms,
      accuracy: accuracyOf(accuracyFloor, accuracyMin),
      memoryBytes: bytesOf(maxMemoryMib),
      sizeBytes: bytesOf(maxSizeMib),
      minimize,
    },
    'the objective',
    'USAGE',
  )
}

function accuracyOf(floor: number | undefined, min: number | undefined): Objective['accuracy'] {
  if (floor !== undefined) return { kind: 'relative', value: floor }
  return min === undefined ? undefined : { kind: 'absolute', value: min }
}

function bytesOf(mebibytes: number | undefined): number | undefined {
  return mebibytes === undefined ? undefined : Math.round(mebibytes * 2 ** 20)
}
