import {
  asFloat32,
  editGraph,
  type Graph,
  type GraphEditor,
  intValue,
  type Node,
  node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { type AffineParams, asymmetricParams, FULL_RANGE, type QuantizedType, quantizeInto } from '../affine.ts'
import { minimalWeightScales, quantizeBias } from '../quantize-bias.ts'
import { type QuantizedWeights, quantizeWeights, refuseNotFinite } from '../quantize-weights.ts'
import {
  addParams,
  addScale,
  addValues,
  type ParamNames,
  type QuantizedValues,
  valuesOf,
} from '../quantized-constants.ts'
import type { Roundings, RoundUp } from '../rounding/roundings.ts'
import type { LayerPlan, Point, QuantizationPlan } from './plan.ts'

export interface InsertOptions {
  readonly activations: QuantizedType
  readonly weights: { readonly type: QuantizedType; readonly perChannel: boolean; readonly reducedRange: boolean }
  /** Scales that weights get where they need no larger ones, by {@link weightsKey}: one in all, or one a channel. */
  readonly leastScales?: ReadonlyMap<string, ArrayLike<number>>
}

/** Writes the layers' weights and biases in a quantized form. */
export type LayerQuantizer = (
  editor: GraphEditor,
  plan: QuantizationPlan,
  paramsOf: (tensor: string) => AffineParams,
  options: InsertOptions,
) => void

/** Writes scale and zero point of values that share them, of whom `leader` is the first. */
export type ParamsWriter = (
  editor: GraphEditor,
  leader: string,
  params: AffineParams,
  like: Int8Array | Uint8Array,
) => ParamNames

interface Writers {
  readonly layers?: LayerQuantizer
  readonly params?: ParamsWriter
}

/**
 * Writes the plan into the graph as QuantizeLinear and DequantizeLinear pairs, the form that onnxruntime turns into
 * integer kernels: weights int8 and bias int32 as dequantized constants, activations quantized where they are made.
 *
 * A value keeps its name after its pair, so graph outputs do too.
 */
export function insertQdq(
  graph: Graph,
  plan: QuantizationPlan,
  params: ReadonlyMap<string, AffineParams>,
  options: InsertOptions,
  { layers: writeLayers = roundedLayers(new Map()), params: writeParams = constantParams }: Writers = {},
): Graph {
  const editor = editGraph(graph)
  const paramsOf = paramsByTensor(plan, params)
  writeLayers(editor, plan, paramsOf, options)
  quantizeOperands(editor, plan, options.activations)
  const like = valuesOf(options.activations, 0)
  const constants = new Map<string, ParamNames>()
  for (const point of plan.points) {
    let names = constants.get(point.leader)
    if (names === undefined) {
      names = writeParams(editor, point.leader, paramsOf(point.tensor), like)
      constants.set(point.leader, names)
    }
    insertPair(editor, point, names)
  }
  editor.prune()
  return editor.build()
}

export const constantParams: ParamsWriter = (editor, leader, params, like) =>
  addParams(editor, leader, [params], [], like)

/** @param params by leader, as `groupParams` gives them */
export function paramsByTensor(
  { points }: QuantizationPlan,
  params: ReadonlyMap<string, AffineParams>,
): (tensor: string) => AffineParams {
  const leaders = new Map(points.map((point) => [point.tensor, point.leader]))
  return (tensor) => {
    const found = params.get(leaders.get(tensor) ?? tensor)
    if (found === undefined) throw new RangeError(`"${tensor}" has no scale`)
    return found
  }
}

function insertPair(editor: GraphEditor, point: Point, params: ParamNames): void {
  const { tensor, everywhere, readers } = point
  const quantized = editor.freshName(`${tensor}/quantized`)
  const inner = editor.freshName(`${tensor}/${everywhere ? 'float' : 'dequantized'}`)
  const producer = everywhere ? editor.producer(tensor) : undefined
  if (producer !== undefined) {
    editor.replace(producer, {
      ...producer,
      outputs: producer.outputs.map((output) => (output === tensor ? inner : output)),
    })
  } else {
    // Points come in graph order, so the outputs of the readers still have their own names.
    const outputs = new Set(readers.flatMap((reader) => reader.outputs))
    editor.replaceUses(tensor, inner, (consumer) => consumer.outputs.some((output) => outputs.has(output)))
  }
  const [made, to] = producer === undefined ? [tensor, inner] : [inner, tensor]
  const from = point.shielded ? addShield(editor, made) : made
  editor.add(
    node({ opType: 'QuantizeLinear', inputs: [from, ...paramInputs(params)], outputs: [quantized] }),
    node({
      opType: 'DequantizeLinear',
      name: editor.freshName(`${tensor}/dequantize`),
      inputs: [quantized, ...paramInputs(params)],
      outputs: [to],
    }),
  )
}

/** A Sum of one changes nothing, and the runtime neither removes it nor looks past it. */
function addShield(editor: GraphEditor, value: string): string {
  const shield = editor.freshName(`${value}/shield`)
  editor.add(node({ opType: 'Sum', inputs: [value], outputs: [shield] }))
  return shield
}

/** Weights in 8 bits, rounded to nearest or as `roundings` say, and biases in 32. */
export function roundedLayers(roundings: Roundings): LayerQuantizer {
  return (editor, plan, paramsOf, options) => {
    const { weights: format } = options
    for (const layers of bySharedWeights(plan.layers)) {
      const [{ weights, axis: channelAxis }] = layers
      const axis = format.perChannel ? channelAxis : undefined
      const signed = layerWeights(layers, paramsOf, options, roundings.get(weights.name))
      const quantized = format.type === 'int8' ? signed : unsigned(signed)
      const name = addDequantized(editor, weights, { ...quantized, axis })
      for (const layer of layers) {
        if (layer.node.opType === 'MatMul') keepProductAlone(editor, layer.node)
        replaceOperand(editor, layer.node, weights.name, name)
        if (layer.bias === undefined) continue
        const bias = quantizeBias(asFloat32(layer.bias), paramsOf(layer.input).scale, quantized.params)
        const flat = { name: layer.bias.name, dims: [bias.values.length] }
        const biasName = addDequantized(editor, flat, { ...bias, axis: axis === undefined ? undefined : 0 })
        replaceOperand(editor, layer.node, layer.bias.name, biasName)
      }
    }
  }
}

/** int8 weights of layers that share them: the scales suit all of their biases. */
export function layerWeights(
  layers: readonly [LayerPlan, ...LayerPlan[]],
  paramsOf: (tensor: string) => AffineParams,
  { weights: format, leastScales }: InsertOptions,
  roundUp?: RoundUp,
): QuantizedWeights {
  for (const { bias } of layers) if (bias !== undefined) refuseNotFinite(bias)
  const [first] = layers
  const { weights, axis: channelAxis } = first
  const axis = format.perChannel ? channelAxis : undefined
  const channels = channelAxis === undefined ? 1 : (weights.dims[channelAxis] ?? 1)
  const uses = layers.map(({ input, bias }) => ({
    inputScale: paramsOf(input).scale,
    bias: bias === undefined ? undefined : asFloat32(bias),
  }))
  const perChannel = minimalWeightScales(channels, uses)
  const least = leastScales?.get(weightsKey(first))
  const minScales = (axis === undefined ? [Math.max(...perChannel)] : perChannel).map((scale, channel) =>
    Math.max(scale, least?.[channel] ?? 0),
  )
  return quantizeWeights(weights, { ...format, type: 'int8', ...(axis !== undefined && { axis }), minScales, roundUp })
}

/**
 * The runtime would merge MatMul and Add into a Gemm before it looks for quantized products, and then run it in float. A
 * Sum of two means the same and is left alone.
 */
export function keepProductAlone(editor: GraphEditor, { outputs: [product = ''] }: Node): void {
  for (const consumer of editor.consumers(product)) {
    if (consumer.opType === 'Add' && consumer.domain === '') editor.replace(consumer, { ...consumer, opType: 'Sum' })
  }
}

const HALF_RANGE = 128

/** The same weights in uint8: kernels want one zero point for all channels, so it is in the middle. */
function unsigned({ values, params }: QuantizedWeights): QuantizedWeights {
  return {
    values: Uint8Array.from(values, (value) => value + HALF_RANGE),
    params: params.map(({ scale, zeroPoint }) => ({ scale, zeroPoint: zeroPoint + HALF_RANGE })),
  }
}

export function bySharedWeights(layers: readonly LayerPlan[]): Iterable<readonly [LayerPlan, ...LayerPlan[]]> {
  const groups = new Map<string, [LayerPlan, ...LayerPlan[]]>()
  for (const layer of layers) {
    const key = weightsKey(layer)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [layer])
    else group.push(layer)
  }
  return groups.values()
}

/** The same for layers that share weights, and read them the same way. */
export function weightsKey({ axis, weights }: LayerPlan): string {
  return `${axis} ${weights.name}`
}

function quantizeOperands(editor: GraphEditor, plan: QuantizationPlan, type: QuantizedType): void {
  for (const { node: operator, tensor } of plan.constants) {
    const real = asFloat32(tensor)
    const range = { min: real.reduce((a, b) => Math.min(a, b)), max: real.reduce((a, b) => Math.max(a, b)) }
    const params = asymmetricParams(range, FULL_RANGE[type])
    const values = valuesOf(type, real.length)
    quantizeInto(values, real, params, FULL_RANGE[type])
    const name = addDequantized(editor, tensor, { values, params: [params], axis: undefined })
    replaceOperand(editor, operator, tensor.name, name)
  }
}

/** Layers and operands are done before values are renamed: the first output still identifies the node. */
export function replaceOperand(editor: GraphEditor, { outputs: [output] }: Node, from: string, to: string): void {
  editor.replaceUses(from, to, (consumer) => consumer.outputs[0] === output)
}

/** Adds a quantized constant, of the name and dims of `original`, and the node that dequantizes it; the result's name. */
function addDequantized(
  editor: GraphEditor,
  original: Pick<Tensor, 'name' | 'dims'>,
  quantized: {
    readonly values: QuantizedValues
    readonly params: readonly AffineParams[]
    readonly axis: number | undefined
  },
): string {
  const { values, params, axis } = quantized
  const name = addValues(editor, original.name, original.dims, values)
  const dims = axis === undefined ? [] : [params.length]
  const operands =
    values instanceof Int32Array
      ? [addScale(editor, original.name, params, dims)]
      : paramInputs(addParams(editor, original.name, params, dims, values))
  const output = editor.freshName(`${original.name}/dequantized`)
  editor.add(
    node({
      opType: 'DequantizeLinear',
      inputs: [name, ...operands],
      outputs: [output],
      attributes: axis === undefined ? {} : { axis: intValue(axis) },
    }),
  )
  return output
}

function paramInputs({ scale, zeroPoint }: ParamNames): readonly string[] {
  return [scale, zeroPoint]
}
