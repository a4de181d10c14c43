import {
  editGraph,
  type Graph,
  type GraphEditor,
  indexGraph,
  inferShapes,
  type Model,
  mapSubgraphs,
  namesIn,
  subgraphs,
  type Tensor,
  type TensorType,
} from '@edgefit/shared/onnx'

/** What a graph knows of its values and of those that it captures from the graphs around it. */
export interface Scope {
  /** The value's tensor when nothing can change it: no default that a caller may override. */
  constant(value: string): Tensor | undefined
  /** As of before the rewrite. */
  typeOf(value: string): TensorType | undefined
}

const NOWHERE: Scope = { constant: () => undefined, typeOf: () => undefined }

/**
 * Applies `rewrite` to the main graph and to the subgraphs of control flow, outer graphs first. New names are new in all
 * of the model. The same object when nothing changed.
 */
export function rewriteGraphs(model: Model, rewrite: (editor: GraphEditor, scope: Scope) => void): Model {
  const names = namesIn(model.graph)

  function visit(graph: Graph, inferred: Graph | undefined, outer: Scope): Graph {
    const editor = editGraph(graph, names)
    const types = inferred && indexGraph(inferred)
    const isOwn = (value: string): boolean => editor.isGraphInput(value) || editor.producer(value) !== undefined
    const scope: Scope = {
      constant: (value) =>
        editor.isGraphInput(value)
          ? undefined
          : (editor.constant(value) ?? (isOwn(value) ? undefined : outer.constant(value))),
      typeOf: (value) => types?.typeOf(value) ?? outer.typeOf(value),
    }
    rewrite(editor, scope)
    for (const node of editor.nodes()) {
      const before = types?.producer(node.outputs[0] ?? '')
      const known = new Map(before === undefined ? [] : subgraphs(before))
      editor.replace(
        node,
        mapSubgraphs(node, (inner, attribute) => visit(inner, known.get(attribute), scope)),
      )
    }
    return editor.build()
  }

  const graph = visit(model.graph, inferShapes(model).graph, NOWHERE)
  return graph === model.graph ? model : { ...model, graph }
}
