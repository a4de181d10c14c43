import { intAttribute, stringAttribute } from '../attributes.ts'
import type { Dim } from '../graph.ts'
import { type Known, known, type Rule, type Rules } from './rule.ts'

const recurrent: Rule = (input): readonly Known[] => {
  const { node } = input
  const dataType = input.dataType(0)
  const shape = input.shape(0)
  if (shape?.length !== 3) return [known(dataType, undefined), known(dataType, undefined), known(dataType, undefined)]
  const batchFirst = intAttribute(node, 'layout', 0) === 1
  const [length, batch] = batchFirst ? [shape[1], shape[0]] : [shape[0], shape[1]]
  const directions = stringAttribute(node, 'direction', 'forward') === 'bidirectional' ? 2 : 1
  const hidden: Dim = intAttribute(node, 'hidden_size', undefined) ?? input.shape(2)?.[2]
  const all = batchFirst ? [batch, length, directions, hidden] : [length, directions, batch, hidden]
  const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden]
  return [known(dataType, all), known(dataType, last), known(dataType, last)]
}

export const recurrentRules: Rules = { GRU: recurrent, LSTM: recurrent, RNN: recurrent }
