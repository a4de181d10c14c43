import {
  asFloat32,
  type Dim,
  floatAttribute,
  intAttribute,
  intsAttribute,
  intValue,
  node as makeNode,
  type Node,
  stringAttribute,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import {
  attributesToInputs,
  floatInput,
  floatsInput,
  int64Input,
  type Lift,
  type LiftInput,
  trimmed,
  without,
} from './lift-node.ts'

/** Changes of meaning or form from opset 8 to 13, by operator: from which opset on, and how to follow. */
export const LIFTS_TO_13: readonly (readonly [opType: string, since: number, lift: Lift])[] = [
  ['BatchNormalization', 9, liftBatchNormalization],
  ['Slice', 10, attributesToInputs('starts', 'ends', 'axes')],
  ['TopK', 10, attributesToInputs('k')],
  ['Upsample', 10, liftResize],
  ['Clip', 11, liftClip],
  ['Pad', 11, liftPad],
  ['Resize', 11, liftResize],
  ['Scatter', 11, renamed('ScatterElements')],
  ['Dropout', 12, liftDropout],
  ['Squeeze', 13, attributesToInputs('axes')],
  ['Unsqueeze', 13, attributesToInputs('axes')],
  ['ReduceSum', 13, attributesToInputs('axes')],
  ['Split', 13, attributesToInputs('split')],
  ['Resize', 13, dropEmptyInputs],
  ['Softmax', 13, liftSoftmax],
  ['LogSoftmax', 13, liftSoftmax],
  ['Hardmax', 13, liftSoftmax],
]

function renamed(opType: string): Lift {
  return ({ editor, node }) => {
    editor.replace(node, { ...node, opType })
    return true
  }
}

/** `spatial`, gone since opset 9, gave each element its own parameters when 0. */
function liftBatchNormalization({ editor, node }: LiftInput): boolean {
  if (intAttribute(node, 'spatial', 1) !== 1) return false
  if (node.attributes.has('spatial')) editor.replace(node, { ...node, attributes: without(node, ['spatial']) })
  return true
}

function liftClip({ editor, node }: LiftInput): boolean {
  if (node.inputs.length > 1) return true
  const bounds = ['min', 'max'].map((name) => {
    const value = floatAttribute(node, name, undefined)
    return value === undefined ? '' : floatInput(editor, node, name, value)
  })
  editor.replace(node, {
    ...node,
    inputs: trimmed([...node.inputs, ...bounds]),
    attributes: without(node, ['min', 'max']),
  })
  return true
}

function liftPad({ editor, node }: LiftInput): boolean {
  if (node.inputs.length > 1) return true
  const pads = int64Input(editor, node, 'pads', intsAttribute(node, 'pads', []))
  const value = floatInput(editor, node, 'value', floatAttribute(node, 'value', 0))
  editor.replace(node, { ...node, inputs: [...node.inputs, pads, value], attributes: without(node, ['pads', 'value']) })
  return true
}

/** Outside training it is the identity; `ratio` does not matter. */
function liftDropout({ editor, node }: LiftInput): boolean {
  if ((node.outputs[1] ?? '') !== '') return false
  editor.replace(node, {
    ...node,
    inputs: node.inputs.slice(0, 1),
    outputs: node.outputs.slice(0, 1),
    attributes: without(node, ['ratio']),
  })
  return true
}

/** Upsample, and Resize of opset 10, sample as Resize does with these modes. Opset 11 spells them out. */
function liftResize({ editor, scope, node }: LiftInput): boolean {
  if (node.opType === 'Resize' && node.inputs.length > 2) return true
  const attribute = node.attributes.get('scales')
  const [data = '', given = ''] = node.inputs
  const scales = attribute?.kind === 'FLOATS' ? floatsInput(editor, node, 'scales', attribute.value) : given
  const mode = stringAttribute(node, 'mode', 'nearest')
  const rounding = mode === 'nearest' ? nearestMode(node, scope.constant(scales)) : 'floor'
  if (scales === '' || rounding === undefined) return false
  editor.replace(node, {
    ...node,
    opType: 'Resize',
    inputs: [data, '', scales],
    attributes: new Map([
      ['mode', stringValue(mode)],
      ['coordinate_transformation_mode', stringValue('asymmetric')],
      ['nearest_mode', stringValue(rounding)],
    ]),
  })
  return true
}

/** onnxruntime rounds up where opset 10 shrinks and down where it enlarges; one node of opset 13 can do only one. */
function nearestMode(node: Node, scales: Tensor | undefined): 'floor' | 'ceil' | undefined {
  if (node.opType === 'Upsample') return 'floor'
  if (scales?.dataType !== 'FLOAT') return undefined
  const factors = asFloat32(scales)
  if (factors.every((factor) => factor >= 1)) return 'floor'
  return factors.every((factor) => factor <= 1) ? 'ceil' : undefined
}

/** Opset 11 wants `roi` and `scales` even where they say nothing; newer ones want them left out then. */
function dropEmptyInputs({ editor, scope, node }: LiftInput): boolean {
  if (stringAttribute(node, 'coordinate_transformation_mode', '') === 'tf_half_pixel_for_nn') return false
  const inputs = node.inputs.map((value) => (scope.constant(value)?.dims[0] === 0 ? '' : value))
  editor.replace(node, { ...node, inputs: trimmed(inputs) })
  return true
}

/** Up to opset 12 it is taken over all axes from `axis` on, by default 1; from 13 on over that axis alone. */
function liftSoftmax({ editor, scope, node }: LiftInput): boolean {
  const [input = ''] = node.inputs
  const [output = ''] = node.outputs
  const axis = intAttribute(node, 'axis', 1)
  const shape = scope.typeOf(input)?.shape ?? scope.typeOf(output)?.shape
  if (shape !== undefined && onlyLastMatters(shape, axis)) {
    editor.replace(node, { ...node, attributes: new Map([...node.attributes, ['axis', intValue(axis)]]) })
    return true
  }
  const [flat, soft, dims] = ['flat', 'soft', 'dims'].map((part) => editor.freshName(`${output}/${part}`))
  if (flat === undefined || soft === undefined || dims === undefined) return false
  editor.replace(
    node,
    makeNode({ opType: 'Shape', inputs: [input], outputs: [dims] }),
    makeNode({ opType: 'Flatten', inputs: [input], outputs: [flat], attributes: { axis: intValue(axis) } }),
    { ...node, inputs: [flat], outputs: [soft], attributes: new Map([['axis', intValue(-1)]]) },
    makeNode({
      opType: 'Reshape',
      name: editor.freshName(`${output}/reshape`),
      inputs: [soft, dims],
      outputs: [output],
    }),
  )
  return true
}

function onlyLastMatters(shape: readonly Dim[], axis: number): boolean {
  const from = axis < 0 ? axis + shape.length : axis
  return shape.slice(from + 1).every((dim) => dim === 1)
}
