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
import { BATCH_MAJOR, CHANNEL_MAJOR, type Layout, moved, PLACE_MAJOR, perChannel } from './layouts.ts'
import { bestTiling, type Tiling, tiledConvolution } from './tiled-convolution.ts'

const ELEMENTWISE: ReadonlySet<string> = new Set(
  'Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish Relu Sigmoid Softplus Tanh'.split(' '),
)
/** Where all inputs but the first hold one number. */
const BY_ONE_NUMBER: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear'])
const OF_EQUAL_SHAPES: ReadonlySet<string> = new Set(['Add', 'Mul', 'Sub'])

/**
 * `model` with its convolutions as matrix products where those are faster, on values laid out for them, and what lies
 * between on the same layout:
 *
 * - pointwise and small depthwise ones over {@link CHANNEL_MAJOR} values;
 * - dense ones in tiles over {@link PLACE_MAJOR} values.
 *
 * A product then goes over the whole batch at once, and so do its gradients, none of which needs a value in another
 * order. It pays only where weights change from run to run: with constant ones the runtime has better kernels.
 * Every value of `model` keeps its name and layout for those who ask for it; what nobody asks for is to be pruned.
 *
 * @param model with every shape known
 */
export function layOutForProducts(model: Model): Model {
  const { graph } = model
  const editor = editGraph(graph)
  const { emitter, emitted } = createEmitter(model.opsetImports.get('') ?? 1, editor.freshName)
  const scope: Scope = { emit: emitter, index: indexGraph(graph), made: new Map() }
  for (const node of graph.nodes) {
    const [output = ''] = node.outputs
    const made = rewritten(scope, node)
    if (made === undefined) continue
    scope.made.set(output, [made])
    editor.replace(node, asBefore(scope, made, output))
  }
  if (scope.made.size === 0) return model
  const { nodes, constants } = emitted()
  for (const constant of constants) editor.setInitializer(constant)
  editor.add(...nodes)
  return inferShapes({ ...model, graph: editor.build() })
}

/** A value of the model by its name in another layout. */
interface LaidOut {
  readonly name: string
  readonly layout: Layout
}

interface Scope {
  readonly emit: Emitter
  readonly index: GraphIndex
  /** Value → its forms so far; the first is the one it is made in, unless it is made in the model's own layout. */
  readonly made: Map<string, readonly LaidOut[]>
}

/** Emits `node` in another layout; undefined where it stays as it is. */
function rewritten(scope: Scope, node: Node): LaidOut | undefined {
  if (node.domain !== '' || node.outputs.length !== 1) return undefined
  const { index } = scope
  const [first = ''] = node.inputs
  const shape = shapeOf(index, node.outputs[0] ?? '')
  if (shape === undefined || shape.length < 3) return undefined
  if (node.opType === 'Conv') return convolution(scope, node)
  const equal = OF_EQUAL_SHAPES.has(node.opType)
  const layout = equal ? layoutAmong(scope, node.inputs) : layoutAmong(scope, [first])
  if (layout === undefined) return undefined
  const form = (value: string): string => formOf(scope, value, layout)
  if (equal) {
    if (!node.inputs.every((value) => shapeOf(index, value)?.join() === shape.join())) return undefined
    return { name: repeated(scope, node, node.inputs.map(form)), layout }
  }
  const single = (value: string): boolean => elementCount(shapeOf(index, value) ?? [0]) === 1
  if (ELEMENTWISE.has(node.opType) || (BY_ONE_NUMBER.has(node.opType) && node.inputs.slice(1).every(single))) {
    return { name: repeated(scope, node, [form(first), ...node.inputs.slice(1)]), layout }
  }
  if (node.opType === 'BatchNormalization') return { name: normalized(scope, node, layout), layout }
  return node.opType === 'GlobalAveragePool' ? { name: globalAverage(scope, first, layout), layout } : undefined
}

function layoutAmong({ made }: Scope, values: readonly string[]): Layout | undefined {
  return values.map((value) => made.get(value)?.[0]?.layout).find((layout) => layout !== undefined)
}

function convolution(scope: Scope, node: Node): LaidOut | undefined {
  const { index } = scope
  if (!node.inputs.slice(0, 2).every((value) => shapeOf(index, value) !== undefined)) return undefined
  const correlation = correlationOf(node, (value) => shapeOf(index, value) ?? [])
  if (isPointwise(correlation)) return { name: pointwise(scope, node, correlation), layout: CHANNEL_MAJOR }
  if (isSmallDepthwise(correlation)) return { name: depthwise(scope, node, correlation), layout: CHANNEL_MAJOR }
  const tiling = bestTiling(correlation, layoutAmong(scope, node.inputs.slice(0, 1)) === PLACE_MAJOR)
  return tiling && { name: tiled(scope, node, correlation, tiling), layout: PLACE_MAJOR }
}

function isPointwise({ group, kernel, strides, padsBegin, padsEnd }: Correlation): boolean {
  const plain = [...kernel, ...strides].every((length) => length === 1)
  return group === 1 && plain && [...padsBegin, ...padsEnd].every((pad) => pad === 0)
}

function isSmallDepthwise(correlation: Correlation): boolean {
  const { group, channels, filters } = correlation
  return group === channels && group === filters && hasFewPairs(correlation)
}

function pointwise(scope: Scope, { inputs }: Node, { filters, channels }: Correlation): string {
  const { emit } = scope
  const [x = '', weights = '', bias = ''] = inputs
  const product = [emit.reshape(weights, [filters, channels]), formOf(scope, x, CHANNEL_MAJOR)]
  return emit.add('Gemm', bias === '' ? product : [...product, emit.reshape(bias, [filters, 1])])
}

/** For each channel [batch, places] × [places, places], a matrix that has the kernel's taps where they join two places. */
function depthwise(scope: Scope, { inputs }: Node, correlation: Correlation): string {
  const { emit } = scope
  const [x = '', weights = '', bias = ''] = inputs
  const { channels, batch } = correlation
  const [from, to, taps] = [correlation.large, correlation.small, correlation.kernel].map(elementCount)
  const joins = joinedPairs(correlation)
  const matrices = emit.add('MatMul', [
    emit.reshape(weights, [channels, taps ?? 1]),
    emit.add('Transpose', [emit.constant(joins)], { perm: intsValue([1, 0]) }),
  ])
  const product = emit.add('MatMul', [
    emit.reshape(formOf(scope, x, CHANNEL_MAJOR), [channels, batch, from ?? 1]),
    emit.reshape(matrices, [channels, from ?? 1, to ?? 1]),
  ])
  const flat = emit.reshape(product, [channels, batch * (to ?? 1)])
  return bias === '' ? flat : emit.add('Add', [flat, emit.reshape(bias, [channels, 1])])
}

function tiled(scope: Scope, { inputs }: Node, correlation: Correlation, tiling: Tiling): string {
  const [x = '', weights = '', bias = ''] = inputs
  const product = tiledConvolution(scope.emit, correlation, tiling, formOf(scope, x, PLACE_MAJOR), weights)
  return bias === ''
    ? product
    : scope.emit.add('Add', [
        product,
        perChannel(scope.emit, bias, [correlation.batch, correlation.filters], PLACE_MAJOR),
      ])
}

/** (x − mean) / √(variance + epsilon) · scale + bias; of one output, so that its statistics are constant. */
function normalized(scope: Scope, node: Node, layout: Layout): string {
  const { add, div, mul, pow, sub } = algebra(scope.emit)
  const [x = '', ...parameters] = node.inputs
  const [scale = '', bias = '', mean = '', variance = ''] = parameters.map((value) =>
    perChannel(scope.emit, value, shapeOf(scope.index, x) ?? [], layout),
  )
  const factor = div(scale, pow(add(variance, floatAttribute(node, 'epsilon', 1e-5)), 0.5))
  return add(mul(sub(formOf(scope, x, layout), mean), factor), bias)
}

/** [channels, batch] or [batch, channels] */
function globalAverage(scope: Scope, value: string, layout: Layout): string {
  const { emit, index } = scope
  const [batch = 1, channels = 1, ...places] = shapeOf(index, value) ?? []
  const sides = [batch, channels, elementCount(places)]
  const split = emit.reshape(
    formOf(scope, value, layout),
    layout.order.map((axis) => sides[axis] ?? 1),
  )
  return emit.reduce('ReduceMean', split, [layout.order.indexOf(2)], false)
}

function repeated({ emit }: Scope, { opType, attributes }: Node, inputs: readonly string[]): string {
  return emit.add(opType, inputs, Object.fromEntries(attributes))
}

/** The value laid out so. */
function formOf({ emit, index, made }: Scope, value: string, layout: Layout): string {
  const forms = made.get(value) ?? []
  const known = forms.find((form) => form.layout === layout)
  if (known !== undefined) return known.name
  const from = forms[0] ?? { name: value, layout: BATCH_MAJOR }
  const name = moved(emit, from.name, shapeOf(index, value) ?? [], from.layout, layout)
  made.set(value, [...forms, { name, layout }])
  return name
}

/** A node that gives `output` as it was, for whoever still reads it. */
function asBefore({ emit, index }: Scope, { name, layout }: LaidOut, output: string): Node {
  const value = moved(emit, name, shapeOf(index, output) ?? [], layout, BATCH_MAJOR)
  return makeNode({ opType: 'Identity', inputs: [value], outputs: [output] })
}

function shapeOf(index: GraphIndex, value: string): readonly number[] | undefined {
  const shape = index.shapeOf(value)
  return shape?.every((dim) => typeof dim === 'number') ? shape.map(Number) : undefined
}
