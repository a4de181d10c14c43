import {
  editGraph,
  elementCount,
  floatAttribute,
  type GraphIndex,
  indexGraph,
  inferShapes,
  intsValue,
  type Model,
  node as makeNode,
  type Node,
} from '@edgefit/shared/onnx'
import { createEmitter, type Emitter } from '../autodiff/emitter.ts'
import { algebra } from '../autodiff/rules/algebra.ts'
import { type Correlation, correlationOf } from '../autodiff/rules/convolution-geometry.ts'
import { hasFewPairs, joinedPairs } from '../autodiff/rules/window-pairs.ts'

const ELEMENTWISE: ReadonlySet<string> = new Set(
  'Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish Relu Sigmoid Softplus Tanh'.split(' '),
)
/** Where all inputs but the first hold one number. */
const BY_ONE_NUMBER: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear'])
const OF_EQUAL_SHAPES: ReadonlySet<string> = new Set(['Add', 'Mul', 'Sub'])

/**
 * `model` with its pointwise and small depthwise convolutions as matrix products, on values laid out as
 * [channels, batch · places], and what lies between them on the same layout.
 *
 * A product then goes over the whole batch at once, and so do its gradients, none of which needs a value in another
 * order. It pays only where weights change from run to run: with constant ones the runtime has better kernels.
 * Every value of `model` keeps its name and layout for those who ask for it; what nobody asks for is to be pruned.
 *
 * @param model with every shape known
 */
export function channelMajor(model: Model): Model {
  const { graph } = model
  const editor = editGraph(graph)
  const { emitter, emitted } = createEmitter(model.opsetImports.get('') ?? 1, editor.freshName)
  const layouts: Layouts = { emit: emitter, index: indexGraph(graph), major: new Map() }
  for (const node of graph.nodes) {
    const [output = ''] = node.outputs
    const value = rewritten(layouts, node)
    if (value === undefined) continue
    layouts.major.set(output, value)
    editor.replace(node, ...asBefore(layouts, value, output))
  }
  if (layouts.major.size === 0) return model
  const { nodes, constants } = emitted()
  for (const constant of constants) editor.setInitializer(constant)
  editor.add(...nodes)
  return inferShapes({ ...model, graph: editor.build() })
}

interface Layouts {
  readonly emit: Emitter
  readonly index: GraphIndex
  /** Value → its name in the other layout, [channels, batch · places]. */
  readonly major: Map<string, string>
}

/** Emits `node` on the other layout; undefined where it stays as it is. */
function rewritten(layouts: Layouts, node: Node): string | undefined {
  if (node.domain !== '' || node.outputs.length !== 1) return undefined
  const { emit, index, major } = layouts
  const [first = '', second = ''] = node.inputs
  const shape = shapeOf(index, node.outputs[0] ?? '')
  if (shape === undefined || shape.length < 3) return undefined
  if (node.opType === 'Conv') {
    if (![first, second].every((value) => shapeOf(index, value) !== undefined)) return undefined
    const correlation = correlationOf(node, (value) => shapeOf(index, value) ?? [])
    if (isPointwise(correlation)) return pointwise(layouts, node, correlation)
    return isSmallDepthwise(correlation) ? depthwise(layouts, node, correlation) : undefined
  }
  const single = (value: string): boolean => elementCount(shapeOf(index, value) ?? [0]) === 1
  const elementwise =
    ELEMENTWISE.has(node.opType) || (BY_ONE_NUMBER.has(node.opType) && node.inputs.slice(1).every(single))
  if (elementwise && major.has(first)) return repeated(emit, node, [majorOf(layouts, first), ...node.inputs.slice(1)])
  if (node.opType === 'BatchNormalization' && major.has(first)) return normalized(layouts, node)
  if (OF_EQUAL_SHAPES.has(node.opType) && node.inputs.some((value) => major.has(value))) {
    const equal = node.inputs.every((value) => shapeOf(index, value)?.join() === shape.join())
    return equal
      ? repeated(
          emit,
          node,
          node.inputs.map((value) => majorOf(layouts, value)),
        )
      : undefined
  }
  return node.opType === 'GlobalAveragePool' && major.has(first) ? globalAverage(layouts, first) : undefined
}

function isPointwise({ group, kernel, strides, padsBegin, padsEnd }: Correlation): boolean {
  const plain = [...kernel, ...strides].every((length) => length === 1)
  return group === 1 && plain && [...padsBegin, ...padsEnd].every((pad) => pad === 0)
}

function isSmallDepthwise(correlation: Correlation): boolean {
  const { group, channels, filters } = correlation
  return group === channels && group === filters && hasFewPairs(correlation)
}

function pointwise(layouts: Layouts, { inputs }: Node, { filters, channels }: Correlation): string {
  const { emit } = layouts
  const [x = '', weights = '', bias = ''] = inputs
  const product = [emit.reshape(weights, [filters, channels]), majorOf(layouts, x)]
  return emit.add('Gemm', bias === '' ? product : [...product, emit.reshape(bias, [filters, 1])])
}

/** For each channel [batch, places] × [places, places], a matrix that has the kernel's taps where they join two places. */
function depthwise(layouts: Layouts, { inputs }: Node, correlation: Correlation): string {
  const { emit } = layouts
  const [x = '', weights = '', bias = ''] = inputs
  const { channels, batch } = correlation
  const [from, to, taps] = [correlation.large, correlation.small, correlation.kernel].map(elementCount)
  const joins = joinedPairs(correlation)
  const matrices = emit.add('MatMul', [
    emit.reshape(weights, [channels, taps ?? 1]),
    emit.add('Transpose', [emit.constant(joins)], { perm: intsValue([1, 0]) }),
  ])
  const product = emit.add('MatMul', [
    emit.reshape(majorOf(layouts, x), [channels, batch, from ?? 1]),
    emit.reshape(matrices, [channels, from ?? 1, to ?? 1]),
  ])
  const flat = emit.reshape(product, [channels, batch * (to ?? 1)])
  return bias === '' ? flat : emit.add('Add', [flat, emit.reshape(bias, [channels, 1])])
}

/** (x − mean) / √(variance + epsilon) · scale + bias; of one output, so that its statistics are constant. */
function normalized(layouts: Layouts, node: Node): string {
  const { add, div, mul, pow, sub } = algebra(layouts.emit)
  const [x = '', ...parameters] = node.inputs
  const [scale = '', bias = '', mean = '', variance = ''] = parameters.map((value) =>
    layouts.emit.reshape(value, [-1, 1]),
  )
  const factor = div(scale, pow(add(variance, floatAttribute(node, 'epsilon', 1e-5)), 0.5))
  return add(mul(sub(majorOf(layouts, x), mean), factor), bias)
}

function globalAverage(layouts: Layouts, value: string): string {
  const { emit, index } = layouts
  const [batch = 1, channels = 1, ...places] = shapeOf(index, value) ?? []
  const split = emit.reshape(majorOf(layouts, value), [channels, batch, elementCount(places)])
  return emit.reduce('ReduceMean', split, [2], false)
}

function repeated(emit: Emitter, { opType, attributes }: Node, inputs: readonly string[]): string {
  return emit.add(opType, inputs, Object.fromEntries(attributes))
}

/** The value as [channels, batch · places]. */
function majorOf({ emit, index, major }: Layouts, value: string): string {
  const known = major.get(value)
  if (known !== undefined) return known
  const [batch = 1, channels = 1, ...places] = shapeOf(index, value) ?? []
  const split = emit.reshape(value, [batch, channels, elementCount(places)])
  const moved = emit.add('Transpose', [split], { perm: intsValue([1, 0, 2]) })
  const made = emit.reshape(moved, [channels, batch * elementCount(places)])
  major.set(value, made)
  return made
}

/** Nodes that give `output` as it was, for whoever still reads it. */
function asBefore({ emit, index }: Layouts, value: string, output: string): readonly Node[] {
  const shape = shapeOf(index, output) ?? []
  const [batch = 1, channels = 1, ...places] = shape
  const split = emit.freshName(`${output}/split`)
  const moved = emit.freshName(`${output}/moved`)
  return [
    makeNode({
      opType: 'Reshape',
      inputs: [value, emit.ints([channels, batch, elementCount(places)])],
      outputs: [split],
    }),
    makeNode({ opType: 'Transpose', inputs: [split], outputs: [moved], attributes: { perm: intsValue([1, 0, 2]) } }),
    makeNode({ opType: 'Reshape', inputs: [moved, emit.ints(shape)], outputs: [output] }),
  ]
}

function shapeOf(index: GraphIndex, value: string): readonly number[] | undefined {
  const shape = index.shapeOf(value)
  return shape?.every((dim) => typeof dim === 'number') ? shape.map(Number) : undefined
}
