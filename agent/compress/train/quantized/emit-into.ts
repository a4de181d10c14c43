import type { GraphEditor } from '@edgefit/shared/onnx'
import { createEmitter, type Emitter } from '../autodiff/emitter.ts'

/** Adds to a graph what `use` emits. */
export function emitInto<Result>(editor: GraphEditor, opset: number, use: (emit: Emitter) => Result): Result {
  const { emitter, emitted } = createEmitter(opset, editor.freshName)
  const result = use(emitter)
  const { nodes, constants } = emitted()
  for (const constant of constants) editor.setInitializer(constant)
  editor.add(...nodes)
  return result
}
