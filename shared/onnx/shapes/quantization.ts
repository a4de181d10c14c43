import { intAttribute } from '../attributes.ts'
import { DATA_TYPES, type DataType } from '../graph.ts'
import { known, type RuleInput, type Rules } from './rule.ts'

export const quantizationRules: Rules = {
  QuantizeLinear: (input) => [known(quantizedType(input), input.shape(0))],
  DequantizeLinear: (input) => [known(input.dataType(1), input.shape(0))],
  DynamicQuantizeLinear: (input) => [known('UINT8', input.shape(0)), known('FLOAT', []), known('UINT8', [])],
}

function quantizedType(input: RuleInput): DataType | undefined {
  if (input.hasInput(2)) return input.dataType(2)
  const code = intAttribute(input.node, 'output_dtype', 0)
  return code === 0 ? 'UINT8' : DATA_TYPES[code - 1]
}
