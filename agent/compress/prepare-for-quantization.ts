import { editGraph, type Model } from '@edgefit/shared/onnx'
import { foldConstants } from './fold-constants.ts'
import { liftOpset } from './opset-lift.ts'

/**
 * The same function in the form that the quantizers work on: constants as initializers, opset 13 or newer, and a Sum of
 * two, which has no integer kernel, as an Add.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED as {@link liftOpset}.
 */
export function prepareForQuantization(model: Model): Model {
  const lifted = liftOpset(foldConstants(model))
  const editor = editGraph(lifted.graph)
  for (const node of editor.nodes()) {
    const isBinarySum = node.opType === 'Sum' && node.domain === '' && node.inputs.length === 2
    if (isBinarySum) editor.replace(node, { ...node, opType: 'Add' })
  }
  const graph = editor.build()
  return graph === lifted.graph ? lifted : { ...lifted, graph }
}
