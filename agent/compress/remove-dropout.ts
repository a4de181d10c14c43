import type { Model, Node } from '@edgefit/shared/onnx'
import { notesByReason, type PassResult } from './pass-report.ts'
import { rewriteGraphs, type Scope } from './rewrite-graphs.ts'

/** Takes out every Dropout that does nothing, as all do outside training. One that trains, or whose mask is read, stays. */
export function removeDropout(model: Model): PassResult {
  const left: { node: Node; reason: string }[] = []
  const without = rewriteGraphs(model, (editor, scope) => {
    for (const node of editor.nodes()) {
      if (node.domain !== '' || node.opType !== 'Dropout') continue
      if (!isInactive(node, scope)) left.push({ node, reason: 'stays, it trains or its mask is read' })
      else if (!editor.bypass(node)) left.push({ node, reason: 'stays between an input and an output of the model' })
    }
    editor.prune()
  })
  return { model: without, notes: notesByReason(left) }
}

/** Whether a Dropout only hands on its input. Before opset 12 there is no way to say that it trains. */
export function isInactive(dropout: Node, { constant }: Pick<Scope, 'constant'>): boolean {
  const [, , training = ''] = dropout.inputs
  return (dropout.outputs[1] ?? '') === '' && (training === '' || constant(training)?.data[0] === 0)
}
