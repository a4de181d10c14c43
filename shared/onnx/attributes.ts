import { EdgefitError } from '../errors.ts'
import type { Attribute, Graph, Node, Tensor } from './graph.ts'

export function intValue(value: number | bigint): Attribute {
  return { kind: 'INT', value: BigInt(value) }
}

export function intsValue(values: readonly (number | bigint)[]): Attribute {
  return { kind: 'INTS', value: values.map((value) => BigInt(value)) }
}

export function floatValue(value: number): Attribute {
  return { kind: 'FLOAT', value: Math.fround(value) }
}

export function floatsValue(values: readonly number[]): Attribute {
  return { kind: 'FLOATS', value: values.map((value) => Math.fround(value)) }
}

export function stringValue(value: string): Attribute {
  return { kind: 'STRING', value }
}

export function tensorValue(value: Tensor): Attribute {
  return { kind: 'TENSOR', value }
}

export function graphValue(value: Graph): Attribute {
  return { kind: 'GRAPH', value }
}

export interface NodeInit {
  readonly opType: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Default: the name of the first output. */
  readonly name?: string
  readonly domain?: string
  readonly attributes?: Readonly<Record<string, Attribute>>
}

/** Builds a node: `node({ opType: 'Concat', inputs: ['a', 'b'], outputs: ['c'], attributes: { axis: intValue(1) } })`. */
export function node(init: NodeInit): Node {
  return {
    name: init.name ?? init.outputs[0] ?? '',
    opType: init.opType,
    domain: init.domain ?? '',
    inputs: init.inputs,
    outputs: init.outputs,
    attributes: new Map(Object.entries(init.attributes ?? {})),
  }
}

/**
 * An INT attribute as a number (beyond 2^53 rounded: INT64_MAX as "to the end" stays larger than any length).
 *
 * @throws EdgefitError MODEL_INVALID when the attribute has another kind.
 */
export function intAttribute<Default extends number | undefined>(
  from: Node,
  name: string,
  otherwise: Default,
): number | Default {
  const attribute = attributeOf(from, name, 'INT')
  return attribute === undefined ? otherwise : Number(attribute.value)
}

/** @throws EdgefitError MODEL_INVALID when the attribute has another kind. */
export function intsAttribute<Default extends readonly number[] | undefined>(
  from: Node,
  name: string,
  otherwise: Default,
): readonly number[] | Default {
  const attribute = attributeOf(from, name, 'INTS')
  return attribute === undefined ? otherwise : attribute.value.map(Number)
}

/** @throws EdgefitError MODEL_INVALID when the attribute has another kind. */
export function floatAttribute<Default extends number | undefined>(
  from: Node,
  name: string,
  otherwise: Default,
): number | Default {
  return attributeOf(from, name, 'FLOAT')?.value ?? otherwise
}

/** @throws EdgefitError MODEL_INVALID when the attribute has another kind. */
export function stringAttribute<Default extends string | undefined>(
  from: Node,
  name: string,
  otherwise: Default,
): string | Default {
  return attributeOf(from, name, 'STRING')?.value ?? otherwise
}

/** @throws EdgefitError MODEL_INVALID when the attribute has another kind. */
export function tensorAttribute(from: Node, name: string): Tensor | undefined {
  return attributeOf(from, name, 'TENSOR')?.value
}

function attributeOf<Kind extends Attribute['kind']>(
  from: Node,
  name: string,
  kind: Kind,
): Extract<Attribute, { kind: Kind }> | undefined {
  const attribute = from.attributes.get(name)
  if (attribute === undefined) return undefined
  if (!hasKind(attribute, kind)) {
    throw new EdgefitError(
      `${from.opType} node "${from.name}": attribute "${name}" is ${attribute.kind}, the operator wants ${kind}; export the model again`,
      { code: 'MODEL_INVALID', details: { node: from.name, attribute: name } },
    )
  }
  return attribute
}

function hasKind<Kind extends Attribute['kind']>(
  attribute: Attribute,
  kind: Kind,
): attribute is Extract<Attribute, { kind: Kind }> {
  return attribute.kind === kind
}
