import {
  type Attribute,
  floatTensor,
  type GraphEditor,
  int64Tensor,
  intAttribute,
  intsAttribute,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import { nodeLabel } from '../node-label.ts'
import type { Scope } from '../rewrite-graphs.ts'

/** One node on its way to a newer opset. */
export interface LiftInput {
  readonly editor: GraphEditor
  readonly scope: Scope
  readonly node: Node
}

/** Rewrites the node so that it means the same from an opset on; `false`, and nothing done, where that is not possible. */
export type Lift = (lift: LiftInput) => boolean

/** Attributes that became int64 inputs, in their order after the data. Nodes that have them as inputs already stay. */
export const attributesToInputs =
  (...names: readonly string[]): Lift =>
  ({ editor, node }) => {
    const [data = '', ...rest] = node.inputs
    const inputs = names.map((name, position) => {
      const ints =
        node.attributes.get(name)?.kind === 'INT' ? [intAttribute(node, name, 0)] : intsAttribute(node, name, undefined)
      return ints === undefined ? (rest[position] ?? '') : int64Input(editor, node, name, ints)
    })
    editor.replace(node, {
      ...node,
      inputs: trimmed([data, ...inputs, ...rest.slice(names.length)]),
      attributes: without(node, names),
    })
    return true
  }

export function int64Input(editor: GraphEditor, node: Node, name: string, values: readonly number[]): string {
  return added(editor, node, name, (fresh) => int64Tensor(fresh, [values.length], values))
}

export function floatInput(editor: GraphEditor, node: Node, name: string, value: number): string {
  return added(editor, node, name, (fresh) => floatTensor(fresh, [], Float32Array.of(value)))
}

export function floatsInput(editor: GraphEditor, node: Node, name: string, values: readonly number[]): string {
  return added(editor, node, name, (fresh) => floatTensor(fresh, [values.length], Float32Array.from(values)))
}

export function added(editor: GraphEditor, node: Node, name: string, tensor: (name: string) => Tensor): string {
  const made = tensor(editor.freshName(`${nodeLabel(node)}/${name}`))
  editor.setInitializer(made)
  return made.name
}

export function without({ attributes }: Node, names: readonly string[]): ReadonlyMap<string, Attribute> {
  return new Map([...attributes].filter(([name]) => !names.includes(name)))
}

/** Optional inputs left out at the end are not written. */
export function trimmed(inputs: readonly string[]): readonly string[] {
  return inputs.slice(0, inputs.findLastIndex((input) => input !== '') + 1)
}
