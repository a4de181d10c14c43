import {
  asInt64Numbers,
  DATA_TYPES,
  type DataType,
  intAttribute,
  intsAttribute,
  type Model,
  type Node,
  type TensorType,
} from '@edgefit/shared/onnx'
import { notesByReason, type PassResult } from './pass-report.ts'
import { rewriteGraphs, type Scope } from './rewrite-graphs.ts'

/**
 * Takes out what provably hands its input on: Identity; Cast to the type that is there; Reshape, Flatten, Squeeze,
 * Unsqueeze and Expand to the shape that is there; Transpose that keeps the order; Pad by nothing; Slice of everything;
 * Concat, Sum, Max, Min and Mean of one.
 */
export function removeIdentities(model: Model): PassResult {
  const left: Node[] = []
  const without = rewriteGraphs(model, (editor, scope) => {
    for (const node of editor.nodes()) {
      if (node.domain === '' && isIdentity(node, scope) && !editor.bypass(node)) left.push(node)
    }
    editor.prune()
  })
  const reason = 'stays between a value from outside and an output'
  return { model: without, notes: notesByReason(left.map((node) => ({ node, reason }))) }
}

function isIdentity(node: Node, scope: Scope): boolean {
  const type = scope.typeOf(node.inputs[0] ?? '')
  switch (node.opType) {
    case 'Identity':
      return true
    case 'Cast':
      return type !== undefined && type.dataType === castTarget(node)
    case 'Reshape':
    case 'Flatten':
    case 'Squeeze':
    case 'Unsqueeze':
      // The count of elements stays, so that one length may be open.
      return sameShape(type, scope.typeOf(node.outputs[0] ?? ''), 1)
    case 'Expand':
      return sameShape(type, scope.typeOf(node.outputs[0] ?? ''), 0)
    case 'Transpose':
      return keepsOrder(intsAttribute(node, 'perm', undefined), type)
    case 'Pad':
      return padsNothing(node, scope)
    case 'Slice':
      return slicesNothing(node, scope, type)
    case 'Concat':
    case 'Sum':
    case 'Max':
    case 'Min':
    case 'Mean':
      return node.inputs.length === 1
    default:
      return false
  }
}

function castTarget(node: Node): DataType | undefined {
  // DATA_TYPES is in the order of TensorProto.DataType, which starts at 1.
  return DATA_TYPES[intAttribute(node, 'to', 0) - 1]
}

/** `open`: how many of the lengths may be symbols. */
function sameShape(input: TensorType | undefined, output: TensorType | undefined, open: number): boolean {
  const [before, after] = [input?.shape, output?.shape]
  if (before === undefined || after === undefined || before.length !== after.length) return false
  const symbols = before.filter((dim) => typeof dim !== 'number').length
  return symbols <= open && before.every((dim, axis) => dim !== undefined && dim === after[axis])
}

function keepsOrder(perm: readonly number[] | undefined, type: TensorType | undefined): boolean {
  if (perm === undefined) return (type?.shape?.length ?? 2) < 2
  return perm.every((axis, position) => axis === position)
}

function padsNothing(node: Node, { constant }: Scope): boolean {
  if (node.inputs.length < 2) return intsAttribute(node, 'pads', [1]).every((pad) => pad === 0)
  const pads = constant(node.inputs[1] ?? '')
  return pads?.dataType === 'INT64' && asInt64Numbers(pads).every((pad) => pad === 0)
}

/** No real axis is that long: exporters write INT32_MAX or INT64_MAX for "to the end". */
const TO_THE_END = 2 ** 31 - 1

function slicesNothing(node: Node, { constant }: Scope, type: TensorType | undefined): boolean {
  const given = (position: number, name: string): readonly number[] | undefined => {
    const tensor = constant(node.inputs[position] ?? '')
    if (node.inputs.length === 1) return intsAttribute(node, name, undefined)
    return tensor?.dataType === 'INT64' ? asInt64Numbers(tensor) : undefined
  }
  const has = (position: number): boolean => (node.inputs[position] ?? '') !== ''
  const starts = given(1, 'starts')
  const ends = given(2, 'ends')
  const axes = given(3, 'axes') ?? (has(3) ? undefined : starts?.map((_, axis) => axis))
  const steps = has(4) ? given(4, 'steps') : starts?.map(() => 1)
  const shape = type?.shape
  if (starts === undefined || ends === undefined || axes === undefined || steps === undefined) return false
  return starts.every((start, at) => {
    const axis = axes[at] ?? 0
    const dim = shape?.[axis < 0 ? axis + shape.length : axis]
    const end = ends[at] ?? 0
    return start === 0 && steps[at] === 1 && (end >= TO_THE_END || (typeof dim === 'number' && end >= dim))
  })
}
