import { editGraph, type Model } from '@edgefit/shared/onnx'
import { foldIn, withoutDefaults } from './fold-constants.ts'
import { isInactive } from './remove-dropout.ts'

/**
 * The form that passes look for: constants as initializers, without Identity and Dropout between them. The subgraphs of
 * control flow are left as they are. The same object when nothing changed.
 */
export function simplify(model: Model): Model {
  const fixed = withoutDefaults(model)
  const editor = editGraph(fixed.graph)
  const scope = { constant: (value: string) => editor.constant(value) }
  for (const node of editor.nodes()) {
    if (node.domain !== '') continue
    if (node.opType === 'Identity' || (node.opType === 'Dropout' && isInactive(node, scope))) editor.bypass(node)
  }
  foldIn(editor, scope, new Map())
  const graph = editor.build()
  return graph === fixed.graph ? fixed : { ...fixed, irVersion: Math.max(fixed.irVersion, 4), graph }
}
