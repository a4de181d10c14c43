import { type DataType, node, type ValueInfo } from '@edgefit/shared/onnx'
import { createEmitter, type EmittedGraph, type Emitter } from '../autodiff/emitter.ts'

/** Something to be fed with each step. */
export interface StepInput {
  readonly name: string
  readonly dataType: DataType
  readonly dims: readonly number[]
}

/** float32 numbers that one step hands to the next: fed as `name`, given out as `next/{name}`. */
export interface Carried {
  readonly name: string
  readonly dims: readonly number[]
}

export const nextOf = (name: string): string => `next/${name}`

/** An emitter for the graph of a training step, which has inputs and outputs of its own. */
export interface StepEmitter extends Emitter {
  /** Declares an input and returns its name; a second time, it is the same one. */
  input(name: string, dataType: DataType, dims: readonly number[]): string
  /** Declares numbers that are carried from step to step and returns the name of what came in. */
  carried(name: string, dims: readonly number[]): string
  /** Says what a carried value is after the step. */
  carry(name: string, value: string): void
  /** Gives a value out. */
  output(name: string, value: string, dims: readonly number[]): void
}

export interface StepParts extends EmittedGraph {
  readonly inputs: readonly StepInput[]
  readonly carried: readonly Carried[]
  readonly inputInfos: readonly ValueInfo[]
  readonly outputInfos: readonly ValueInfo[]
}

export function createStepEmitter(
  opset: number,
  freshName: (hint: string) => string,
): { readonly emit: StepEmitter; parts(): StepParts } {
  const { emitter, emitted } = createEmitter(opset, freshName)
  const inputs = new Map<string, StepInput>()
  const carried = new Map<string, Carried>()
  const outputs = new Map<string, { readonly value: string; readonly dims: readonly number[] }>()

  const emit: StepEmitter = {
    ...emitter,
    input: (name, dataType, dims) => {
      inputs.set(name, { name, dataType, dims })
      return name
    },
    carried: (name, dims) => {
      carried.set(name, { name, dims })
      return name
    },
    carry: (name, value) => {
      outputs.set(nextOf(name), { value, dims: carried.get(name)?.dims ?? [] })
    },
    output: (name, value, dims) => {
      outputs.set(name, { value, dims })
    },
  }
  return {
    emit,
    parts: () => {
      const { nodes, constants } = emitted()
      const named = [...outputs].map(([name, { value }]) =>
        node({ opType: 'Identity', inputs: [value], outputs: [name] }),
      )
      return {
        nodes: [...nodes, ...named],
        constants,
        inputs: [...inputs.values()],
        carried: [...carried.values()],
        inputInfos: [
          ...[...inputs.values()].map(({ name, dataType, dims }) => infoOf(name, dataType, dims)),
          ...[...carried.values()].map(({ name, dims }) => infoOf(name, 'FLOAT', dims)),
        ],
        outputInfos: [...outputs].map(([name, { dims }]) => infoOf(name, 'FLOAT', dims)),
      }
    },
  }
}

function infoOf(name: string, dataType: DataType, shape: readonly number[]): ValueInfo {
  return { name, type: { kind: 'tensor', dataType, shape } }
}
