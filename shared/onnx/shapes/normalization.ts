import { intAttribute } from '../attributes.ts'
import { frontAxis } from './dims.ts'
import { known, type Rule, type Rules } from './rule.ts'

const batchNormalization: Rule = (input) => [
  known(input.dataType(0), input.shape(0)),
  // Training outputs: running mean and variance, before opset 14 also the saved ones.
  ...[3, 4, 3, 4].map((position) => known(input.dataType(position), input.shape(position))),
]

const layerNormalization: Rule = (input) => {
  const shape = input.shape(0)
  const axis = shape && frontAxis(intAttribute(input.node, 'axis', -1), shape.length)
  const statistics = axis === undefined ? undefined : shape?.map((dim, position) => (position < axis ? dim : 1))
  return [known(input.dataType(0), shape), known('FLOAT', statistics), known('FLOAT', statistics)]
}

const dropout: Rule = (input) => [
  known(input.dataType(0), input.shape(0)),
  known(input.opset >= 10 ? 'BOOL' : input.dataType(0), input.shape(0)),
]

export const normalizationRules: Rules = {
  BatchNormalization: batchNormalization,
  Dropout: dropout,
  LayerNormalization: layerNormalization,
}
