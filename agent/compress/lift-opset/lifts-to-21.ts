import {
  asFloat32,
  floatTensor,
  int64Tensor,
  intAttribute,
  intValue,
  stringAttribute,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import { added, attributesToInputs, type Lift, type LiftInput, trimmed, without } from './lift-node.ts'

/** Changes of meaning or form from opset 14 to 21, as {@link LIFTS_TO_13}. */
export const LIFTS_TO_21: readonly (readonly [opType: string, since: number, lift: Lift])[] = [
  ['BatchNormalization', 14, isInference],
  ['RoiAlign', 16, spelledOut('coordinate_transformation_mode', 'output_half_pixel')],
  ...['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'SumSquare'].map(
    (kind) => [`Reduce${kind}`, 18, attributesToInputs('axes')] as const,
  ),
  ['Split', 18, liftSplit],
  ['DFT', 20, liftDft],
  ['GridSample', 20, liftGridSample],
  ['GroupNormalization', 21, liftGroupNormalization],
]

/** Training had five outputs, then became an attribute with three. */
function isInference({ node }: LiftInput): boolean {
  return node.outputs.slice(1).every((output) => output === '')
}

/** An attribute whose default changed. */
function spelledOut(name: string, before: string): Lift {
  return ({ editor, node }) => {
    const attributes = new Map(node.attributes).set(name, stringValue(stringAttribute(node, name, before)))
    editor.replace(node, { ...node, attributes })
    return true
  }
}

/** Equal parts have to be counted. */
function liftSplit({ editor, node }: LiftInput): boolean {
  if ((node.inputs[1] ?? '') !== '') return true
  const attributes = new Map(node.attributes).set('num_outputs', intValue(node.outputs.length))
  editor.replace(node, { ...node, attributes })
  return true
}

function liftDft({ editor, node }: LiftInput): boolean {
  const [data = '', length = ''] = node.inputs
  const axis = added(editor, node, 'axis', (name) => int64Tensor(name, [], [intAttribute(node, 'axis', 1)]))
  editor.replace(node, { ...node, inputs: [data, length, axis], attributes: without(node, ['axis']) })
  return true
}

const GRID_MODES: ReadonlyMap<string, string> = new Map([
  ['bilinear', 'linear'],
  ['bicubic', 'cubic'],
  ['nearest', 'nearest'],
])

function liftGridSample({ editor, node }: LiftInput): boolean {
  const mode = GRID_MODES.get(stringAttribute(node, 'mode', 'bilinear'))
  if (mode === undefined) return false
  editor.replace(node, { ...node, attributes: new Map(node.attributes).set('mode', stringValue(mode)) })
  return true
}

/** Scale and bias are by channel now, and were by group. */
function liftGroupNormalization({ editor, scope, node }: LiftInput): boolean {
  const channels = scope.typeOf(node.inputs[0] ?? '')?.shape?.[1]
  const groups = intAttribute(node, 'num_groups', 1)
  const [data = '', ...terms] = node.inputs
  const constants = terms.map((term) => scope.constant(term))
  if (typeof channels !== 'number' || channels % groups !== 0) return false
  if (!constants.every((tensor) => tensor?.dataType === 'FLOAT' && tensor.dims[0] === groups)) return false
  const byChannel = (tensor: Tensor, name: string): Tensor => {
    const values = asFloat32(tensor)
    const spread = Float32Array.from({ length: channels }, (_, at) => values[Math.floor((at * groups) / channels)] ?? 0)
    return floatTensor(name, [channels], spread)
  }
  const inputs = ['scale', 'bias'].map((part, at) => {
    const tensor = constants[at]
    return tensor === undefined ? '' : added(editor, node, part, (name) => byChannel(tensor, name))
  })
  editor.replace(node, { ...node, inputs: trimmed([data, ...inputs]) })
  return true
}
