import { EdgefitError } from '@edgefit/shared'
import {
  type AffineParams,
  asymmetricParams,
  FULL_RANGE,
  fitWithin,
  type Interval,
  type QuantizedType,
} from '../affine.ts'
import { union } from '../calibration/minmax.ts'
import type { QuantizationPlan } from './plan.ts'
import type { Group } from './shared-groups.ts'

/** Names of the values whose ranges {@link groupParams} needs. */
export function tensorsToObserve(plan: QuantizationPlan): readonly string[] {
  return plan.groups.flatMap((group) => group.observe)
}

/**
 * Scale and zero point of each group, by leader.
 *
 * @throws EdgefitError RECIPE_INVALID when `ranges` are not those of this model.
 */
export function groupParams(
  plan: QuantizationPlan,
  ranges: ReadonlyMap<string, Interval>,
  type: QuantizedType,
): ReadonlyMap<string, AffineParams> {
  refuseForeign(plan, ranges)
  const integers = FULL_RANGE[type]
  return new Map(
    plan.groups.map((group) => {
      const params = asymmetricParams(rangeOf(group, ranges), integers)
      const fitted = fitWithin(params, integers, group.bounds)
      // The range was cut to the bounds, which hold 0, so the scale only has rounding to make up for.
      if (fitted === undefined) throw new RangeError(`no scale of "${group.leader}" fits its bounds`)
      return [group.leader, fitted]
    }),
  )
}

function rangeOf({ fixed, observe, bounds }: Group, ranges: ReadonlyMap<string, Interval>): Interval {
  const range = fixed ?? observe.map((tensor) => knownRange(tensor, ranges)).reduce(union)
  return { min: Math.max(range.min, bounds.min), max: Math.min(range.max, bounds.max) }
}

function knownRange(tensor: string, ranges: ReadonlyMap<string, Interval>): Interval {
  const range = ranges.get(tensor)
  if (range !== undefined && range.min <= range.max) return range
  throw foreign(
    range === undefined ? `has no range of "${tensor}"` : `has a range of "${tensor}" whose ends are swapped`,
    tensor,
  )
}

function refuseForeign(plan: QuantizationPlan, ranges: ReadonlyMap<string, Interval>): void {
  const wanted = new Set(tensorsToObserve(plan))
  for (const tensor of ranges.keys()) {
    if (!wanted.has(tensor)) throw foreign(`has a range of "${tensor}", which is not quantized here`, tensor)
  }
}

function foreign(what: string, tensor: string): EdgefitError {
  return new EdgefitError(
    `the recipe ${what}; it was made for another model or other settings: remove "ranges" to calibrate again`,
    { code: 'RECIPE_INVALID', details: { tensor } },
  )
}
