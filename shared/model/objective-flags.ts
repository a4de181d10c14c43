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
