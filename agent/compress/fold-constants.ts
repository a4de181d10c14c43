import { type GraphEditor, inferConstants, type Model, type Tensor } from '@edgefit/shared/onnx'
import { evaluateConstant } from './evaluate-constant.ts'
import type { PassResult } from './pass-report.ts'
import { rewriteGraphs, type Scope } from './rewrite-graphs.ts'

/**
 * Turns what can be computed before the model runs into initializers: Constant nodes, integers that follow from fixed
 * shapes, constants moved about, and arithmetic on constants that is the same on any machine. What would make the model
 * much larger stays.
 *
 * Initializers that are declared as inputs too, as all are before IR version 4, are from then on constants.
 */
export function foldConstants(model: Model): PassResult {
  const fixed = withoutDefaults(model)
  const known = inferConstants(fixed)
  let isMain = true
  const folded = rewriteGraphs(fixed, (editor, scope) => {
    foldIn(editor, scope, isMain ? known : NOTHING)
    isMain = false
  })
  return { model: folded, notes: [] }
}

const NOTHING: ReadonlyMap<string, Tensor> = new Map()

/** The defaults that callers may override become constants. The same object where there are none. */
export function withoutDefaults(model: Model): Model {
  const { graph } = model
  const inputs = graph.inputs.filter((input) => !graph.initializers.has(input.name))
  if (inputs.length === graph.inputs.length) return model
  return { ...model, irVersion: Math.max(model.irVersion, 4), graph: { ...graph, inputs } }
}

/** A result up to this size may come on top of what it was made from. */
const SMALL_BYTES = 64 * 1024
/** Some models hold their weights as shapes to fill. */
const FILLED_BYTES = 256 * 2 ** 20

/** `known`: values that shape inference computed already. */
export function foldIn(editor: GraphEditor, scope: Pick<Scope, 'constant'>, known: ReadonlyMap<string, Tensor>): void {
  for (const node of editor.nodes()) {
    const [output = ''] = node.outputs
    if (editor.isGraphOutput(output)) continue
    const isFilled = node.opType === 'ConstantOfShape'
    const maxBytes = isFilled ? FILLED_BYTES : SMALL_BYTES + freedBytes(editor, node.inputs)
    const tensor = evaluateConstant(node, scope.constant, maxBytes) ?? known.get(output)
    if (tensor === undefined || (node.opType !== 'Constant' && tensor.data.byteLength > maxBytes)) continue
    editor.remove(node)
    editor.setInitializer({ ...tensor, name: output })
  }
  editor.prune()
}

/** Of the initializers that only one node reads. */
function freedBytes(editor: GraphEditor, values: readonly string[]): number {
  return values.reduce((sum, value) => {
    const alone = editor.consumers(value).length === 1 && !editor.isGraphOutput(value)
    return sum + (alone ? (editor.initializer(value)?.data.byteLength ?? 0) : 0)
  }, 0)
}
