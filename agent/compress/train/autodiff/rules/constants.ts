import { asFloat32, asInt64Numbers, elementCount, intsAttribute, type Tensor } from '@edgefit/shared/onnx'
import type { GradientRequest } from '../gradient-rule.ts'

/** The only element of a constant. */
export function constantNumber(tensor: Tensor | undefined): number | undefined {
  if (tensor === undefined || elementCount(tensor.dims) !== 1) return undefined
  if (tensor.dataType === 'FLOAT') return asFloat32(tensor)[0]
  return tensor.dataType === 'INT64' ? asInt64Numbers(tensor)[0] : undefined
}

/**
 * Integers that are an input in newer opsets and an attribute in older ones.
 *
 * @returns undefined when they are left out, a refusal when an input is computed
 */
export function staticInts(
  { node, constant }: GradientRequest,
  position: number,
  attribute: string,
): readonly number[] | undefined | { readonly refused: string } {
  const input = node.inputs[position] ?? ''
  if (input === '') return intsAttribute(node, attribute, undefined)
  const tensor = constant(input)
  if (tensor === undefined) return { refused: `its ${attribute} are computed` }
  return asInt64Numbers(tensor)
}
