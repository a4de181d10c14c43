import { type Attribute, asInt64Numbers, elementCount, type Node, type Tensor } from '@edgefit/shared/onnx'
import type { ExecutedGraph } from './executed-graph.ts'

/** Of these, axes, shapes, pads and sizes, the values decide how much there is to do. */
const MAX_TOLD_ELEMENTS = 64

/**
 * What decides how long an operator takes, as text: operator, attributes, types and lengths of all it reads and writes.
 * Two nodes with one key take the same time wherever they stand, so one is timed for both.
 *
 * Values of constants count only where kernels look at them: integers that stand for shapes, and whether zero points are
 * zero, which lets integer kernels leave out a correction. Scales and weights make no difference.
 */
export function operatorKey({ model, values }: ExecutedGraph, node: Node): string {
  const { initializers } = model.graph
  const input = (name: string, position: number): string => {
    if (name === '') return '-'
    const earlier = node.inputs.indexOf(name)
    if (earlier < position) return `=${earlier}`
    const constant = initializers.get(name)
    return constant === undefined ? valueText(values, name) : `const ${constantText(constant)}`
  }
  const reads = node.inputs.map(input).join(', ')
  const writes = node.outputs.map((name) => (name === '' ? '-' : valueText(values, name))).join(', ')
  const attributes = [...node.attributes]
    .map(([name, attribute]) => `${name}=${attributeText(attribute)}`)
    .sort()
    .join(' ')
  // The same words mean other work in another version: Softmax, and what it runs over.
  const version = model.opsetImports.get(node.domain) ?? 1
  const operator = `${node.domain === '' ? '' : `${node.domain}.`}${node.opType}@${version}`
  return `${operator}(${reads}) -> ${writes}${attributes === '' ? '' : ` {${attributes}}`}`
}

function valueText(values: ExecutedGraph['values'], name: string): string {
  const type = values.get(name)
  return type === undefined ? '?' : `${type.dataType}[${type.dims.join()}]`
}

function constantText(tensor: Tensor): string {
  const { dataType, dims, data } = tensor
  const type = `${dataType}[${dims.join()}]`
  if (dataType === 'INT64' && elementCount(dims) <= MAX_TOLD_ELEMENTS) return `${type}=${asInt64Numbers(tensor).join()}`
  if ((dataType === 'INT8' || dataType === 'UINT8') && dims.length < 2) {
    return `${type}${data.every((byte) => byte === 0) ? '=0' : ''}`
  }
  return type
}

function attributeText(attribute: Attribute): string {
  switch (attribute.kind) {
    case 'FLOAT':
    case 'INT':
    case 'STRING':
      return String(attribute.value)
    case 'FLOATS':
    case 'INTS':
    case 'STRINGS':
      return `[${attribute.value.join()}]`
    case 'TENSOR':
      return constantText(attribute.value)
    case 'TENSORS':
    case 'GRAPH':
    case 'GRAPHS':
    case 'OPAQUE':
      return attribute.kind
  }
}
