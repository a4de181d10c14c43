import { editGraph, indexGraph, inferShapes, type Model, type Shape } from '@edgefit/shared/onnx'
import { type Backward, type BackwardRequest, backward } from '../../../../../agent/compress/train/autodiff/backward.ts'
import { createEmitter } from '../../../../../agent/compress/train/autodiff/emitter.ts'
import { valueInfo } from '../../support/graphs.ts'

export interface GradientModel extends Backward {
  /** Takes what `forward` takes plus `seed/{value}` for each seed; gives the gradients and nothing else. */
  readonly model: Model
  /** The forward graph with its shapes. */
  readonly inferred: Model
}

interface Options extends Pick<BackwardRequest, 'barriers' | 'rules'> {
  /** Values whose gradients are fed. */
  readonly seeds: readonly string[]
  readonly targets: readonly string[]
}

/** The graph that computes the gradients of `forward`, declared as opset 17 where it is older. */
export function gradientModel(forward: Model, { seeds, targets, ...rest }: Options): GradientModel {
  const inferred = inferShapes(forward)
  const { graph } = inferred
  const opset = Math.max(17, inferred.opsetImports.get('') ?? 1)
  const names = editGraph(graph)
  const { emitter, emitted } = createEmitter(opset, names.freshName)
  const seedNames = new Map(seeds.map((value) => [value, `seed/${value}`]))
  const result = backward({ model: inferred, seeds: seedNames, targets, emit: emitter, ...rest })
  const { nodes, constants } = emitted()

  const index = indexGraph(graph)
  const shapeOf = (value: string): Shape => index.shapeOf(value) ?? []
  const editor = editGraph({
    ...graph,
    nodes: [...result.forward, ...nodes],
    initializers: new Map([...graph.initializers, ...constants.map((tensor) => [tensor.name, tensor] as const)]),
    inputs: [...graph.inputs, ...seeds.map((value) => valueInfo(`seed/${value}`, shapeOf(value)))],
    outputs: [...result.gradients].map(([target, gradient]) => valueInfo(gradient, shapeOf(target))),
    valueInfo: new Map(),
  })
  editor.prune()
  const model = {
    ...inferred,
    irVersion: Math.max(8, inferred.irVersion),
    opsetImports: new Map([...inferred.opsetImports, ['', opset] as const]),
    graph: editor.build(),
  }
  return { ...result, model, inferred }
}
