import { intAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { known, type RuleInput, type Rules } from './rule.ts'

export const samplingRules: Rules = {
  DFT: (input) => [known(input.dataType(0), transformed(input))],
  GridSample: (input) => [known(input.dataType(0), sampled(input))],
  RoiAlign: (input) => [known(input.dataType(0), aligned(input))],
}

/** The batch and channels of the data, the places of the grid, whose last axis holds coordinates. */
function sampled(input: RuleInput): Shape | undefined {
  const data = input.shape(0)
  const grid = input.shape(1)
  return data && grid && [data[0], data[1], ...grid.slice(1, -1)]
}

function aligned(input: RuleInput): Shape | undefined {
  const size = (name: string): number => intAttribute(input.node, name, 1)
  return [input.shape(1)?.[0], input.shape(0)?.[1], size('output_height'), size('output_width')]
}

/** Complex numbers as pairs. Transforms of another length, or one-sided ones, are not followed. */
function transformed(input: RuleInput): Shape | undefined {
  const shape = input.shape(0)
  const isOther = input.hasInput(1) || intAttribute(input.node, 'onesided', 0) !== 0
  return isOther ? shape?.map((): Dim => undefined) : shape?.with(-1, 2)
}
