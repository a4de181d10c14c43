import { intAttribute, tensorAttribute } from '../attributes.ts'
import { DATA_TYPES, type DataType, type Dim, type Shape } from '../graph.ts'
import { asInt64Numbers } from '../tensor.ts'
import { ofRank, product } from './dims.ts'
import { known, MAX_INTS, type Rule, type RuleInput, type Rules } from './rule.ts'

/** Values that come from types, shapes and attributes alone. Constant is the driver's, which keeps its tensor. */
export const sourceRules: Rules = {
  Cast: (input) => [known(castType(input), input.shape(0), isInteger(castType(input)) ? input.ints(0) : undefined)],
  CastLike: (input) => [known(input.dataType(1), input.shape(0))],
  ConstantOfShape: (input) => [known(fillType(input), filledShape(input), filledInts(input))],
  EyeLike: (input) => [known(dataTypeAt(input, 'dtype') ?? input.dataType(0), input.shape(0))],
  NonMaxSuppression: () => [known('INT64', [undefined, 3])],
  NonZero: (input) => [known('INT64', [input.shape(0)?.length, undefined])],
  Range: (input) => [known(input.dataType(0), [rangeLength(input)])],
  Shape: shapeRule(),
  Size: (input) => {
    const shape = input.shape(0)
    return [known('INT64', [], { dims: [], values: [shape && product(shape)] })]
  },
}

function shapeRule(): Rule {
  return (input) => {
    const shape = input.shape(0)
    if (shape === undefined) return [known('INT64', [undefined])]
    const values = shape.slice(intAttribute(input.node, 'start', 0), intAttribute(input.node, 'end', undefined))
    return [known('INT64', [values.length], { dims: [values.length], values })]
  }
}

function dataTypeAt(input: RuleInput, attribute: string): DataType | undefined {
  const code = intAttribute(input.node, attribute, undefined)
  // DATA_TYPES is in the order of TensorProto.DataType, which starts at 1.
  return code === undefined ? undefined : DATA_TYPES[code - 1]
}

function castType(input: RuleInput): DataType | undefined {
  return dataTypeAt(input, 'to')
}

function isInteger(dataType: DataType | undefined): boolean {
  return dataType === 'INT64' || dataType === 'INT32'
}

function fillType(input: RuleInput): DataType {
  return tensorAttribute(input.node, 'value')?.dataType ?? 'FLOAT'
}

function filledShape(input: RuleInput): Shape | undefined {
  return input.ints(0)?.values ?? ofRank(input.shape(0)?.[0])
}

function filledInts(input: RuleInput) {
  const fill = tensorAttribute(input.node, 'value')
  const shape = input.ints(0)?.values
  const length = shape?.length === 1 ? shape[0] : undefined
  if (fill?.dataType !== 'INT64' || typeof length !== 'number' || length < 0 || length > MAX_INTS) return undefined
  return { dims: [length], values: new Array<Dim>(length).fill(asInt64Numbers(fill)[0]) }
}

function rangeLength(input: RuleInput): Dim {
  const [start, limit, delta] = [0, 1, 2].map(
    (position) => input.floats(position)?.[0] ?? input.ints(position)?.values[0],
  )
  if (typeof start !== 'number' || typeof limit !== 'number' || typeof delta !== 'number') return undefined
  return delta === 0 ? undefined : Math.max(0, Math.ceil((limit - start) / delta))
}
