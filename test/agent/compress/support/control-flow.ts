import {
  floatTensor,
  type Graph,
  graphValue,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  type Tensor,
  tensorValue,
  type ValueInfo,
} from '@edgefit/shared/onnx'
import type { FeedTensor } from '../../../../agent/compress/runtime-port.ts'
import { modelOf, op, randomTensor, randomValues, valueInfo } from './graphs.ts'
import { float32 } from './runtime.ts'

const DIMS = [1, 4, 6, 6]

/**
 * A convolution and a product outside; inside: an If that depends on an input, whose branches hold a BatchNormalization,
 * Identity, Dropout and Constant and read values from outside, with a Loop and a Scan in one of them; an If whose
 * condition is a constant; and names that both branches use.
 *
 * Squeeze, Softmax, Pad, Split and ReduceMean change their form between the opsets: written as `opset` (11, 13, 17 or 21) wants them.
 */
export function controlFlowModel(opset: 11 | 13 | 17 | 21): Model {
  const axes = (at: number): Tensor => int64Tensor(`axes${at}`, [2], [2, 3])
  const reduce = (from: string, to: string, at: number): Node =>
    opset >= 18
      ? op('ReduceMean', `${from} axes${at} -> ${to}`, { keepdims: intValue(1) })
      : op('ReduceMean', `${from} -> ${to}`, { axes: intsValue([2, 3]), keepdims: intValue(1) })
  const split = (from: string, to: string): Node =>
    op('Split', `${from} -> ${to}`, { axis: intValue(1), ...(opset >= 18 ? { num_outputs: intValue(2) } : {}) })

  const loopBody = graphOf({
    inputs: [valueInfo('step', [], 'INT64'), valueInfo('go', [], 'BOOL'), valueInfo('carried', DIMS)],
    nodes: [
      op('Identity', 'go -> goOn'),
      split('carried', 'half1 half2'),
      op('Concat', 'half2 half1 -> swapped', { axis: intValue(1) }),
      op('Dropout', 'swapped -> kept'),
      op('Add', 'kept shift -> next'),
    ],
    constants: [randomTensor('shift', [1, 4, 1, 1], 21, 0.1)],
    outputs: ['goOn', 'next'],
  })
  const scanBody = graphOf({
    inputs: [valueInfo('sum', [6, 6]), valueInfo('plane', [6, 6])],
    nodes: [op('Add', 'sum plane -> total'), op('Identity', 'total -> seen')],
    outputs: ['total', 'seen'],
  })
  const yes = graphOf({
    nodes: [
      op('BatchNormalization', 'c gamma beta mean variance -> normal'),
      op('Identity', 'normal -> same'),
      op('Loop', 'trips _ same -> looped', { body: graphValue(loopBody) }),
      op(
        'Squeeze',
        opset >= 13 ? 'looped firstAxis -> planes' : 'looped -> planes',
        opset >= 13 ? {} : { axes: intsValue([0]) },
      ),
      op('Scan', 'zeros planes -> last all', { body: graphValue(scanBody), num_scan_inputs: intValue(1) }),
      op(
        'Unsqueeze',
        opset >= 13 ? 'all firstAxis -> result' : 'all -> result',
        opset >= 13 ? {} : { axes: intsValue([0]) },
      ),
    ],
    constants: [
      ...['gamma', 'beta', 'mean'].map((name, at) => randomTensor(name, [4], 30 + at)),
      { ...randomTensor('variance', [4], 1), data: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) },
      int64Tensor('trips', [], [3]),
      int64Tensor('firstAxis', [1], [0]),
      randomTensor('zeros', [6, 6], 40),
    ],
    outputs: ['result'],
  })
  const no = graphOf({
    nodes: [
      op('Constant', '_ -> factor', { value: tensorValue(floatTensor('', [], Float32Array.of(0.5))) }),
      op('Mul', 'c factor -> normal'),
      reduce('normal', 'means', 1),
      op('Add', 'normal means -> result'),
    ],
    constants: opset >= 18 ? [axes(1)] : [],
    outputs: ['result'],
  })
  const always = graphOf({
    nodes: [op('Relu', 'chosen -> normal'), op('Identity', 'normal -> result')],
    outputs: ['result'],
  })
  const never = graphOf({ nodes: [op('Tanh', 'chosen -> result')], outputs: ['result'] })

  const model = modelOf({
    opset,
    irVersion: opset === 21 ? 10 : 7,
    inputs: { x: DIMS },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w -> c', { pads: intsValue([1, 1, 1, 1]) }),
      op('If', 'flag -> chosen', { then_branch: graphValue(yes), else_branch: graphValue(no) }),
      op('If', 'true -> positive', { then_branch: graphValue(always), else_branch: graphValue(never) }),
      op('Flatten', 'positive -> flat'),
      op('MatMul', 'flat v -> scores'),
      op('Softmax', 'scores -> y', { axis: intValue(1) }),
    ],
    constants: [
      randomTensor('w', [4, 4, 3, 3], 1, 0.4),
      randomTensor('v', [144, 5], 2, 0.2),
      { name: 'true', dataType: 'BOOL', dims: [], data: Uint8Array.of(1) },
    ],
  })
  const inputs = [...model.graph.inputs, valueInfo('flag', [], 'BOOL')]
  return { ...model, graph: { ...model.graph, inputs } }
}

/** `flag` decides which branch is taken. */
export function controlFlowFeeds(flag: boolean): Readonly<Record<string, FeedTensor>> {
  return {
    x: float32(DIMS, randomValues(144, 5)),
    flag: { type: 'bool', dims: [], data: Uint8Array.of(Number(flag)) },
  }
}

interface GraphParts {
  readonly inputs?: readonly ValueInfo[]
  readonly nodes: readonly Node[]
  readonly constants?: readonly Tensor[]
  readonly outputs: readonly string[]
}

function graphOf({ inputs = [], nodes, constants = [], outputs }: GraphParts): Graph {
  return {
    name: 'inner',
    nodes,
    initializers: new Map(constants.map((tensor) => [tensor.name, tensor])),
    inputs,
    outputs: outputs.map((name) => ({ name, type: { kind: 'tensor', dataType: name === 'goOn' ? 'BOOL' : 'FLOAT' } })),
    valueInfo: new Map(),
  }
}
