import { intAttribute, intValue } from '@edgefit/shared/onnx'
import type { Labels } from '../channel-labels.ts'
import { type Axis, type Flow, freezeSpatial, type NodeView, type Rules, UNKNOWN_SHAPE } from '../rule.ts'

export const convolutionRules: Rules = { Conv: conv, ConvTranspose: convTranspose }

const MADE_WEIGHTS = 'its weights are not constants; prune before quantizing'

/** Weights [M, C/group, ...kernel]. */
function conv(view: NodeView): Flow | string {
  const group = intAttribute(view.node, 'group', 1)
  const weights = view.shape(1)
  const data = view.shape(0)
  const [filters, inputsPerGroup] = weights ?? []
  if (data === undefined || typeof filters !== 'number' || typeof inputsPerGroup !== 'number') return UNKNOWN_SHAPE
  if (view.constant(1) === undefined) return MADE_WEIGHTS
  freezeSpatial(view)
  const out = view.axis(1, 0)
  view.setRole(1, 0, 'filter')
  tieBias(view, out)
  const input = view.axis(0, 1)
  const flow = { outputs: [outputAxes(view, data.length, out)] }
  if (group === 1) {
    readChannels(view, input, 1)
    return flow
  }
  return inputsPerGroup === 1
    ? { ...flow, ...depthwise(view, input, out, filters / group) }
    : grouped(view, flow, group)
}

/** Each input channel makes its own `multiplier` outputs and goes with them. */
function depthwise(view: NodeView, input: Axis, out: Axis, multiplier: number): Pick<Flow, 'repair'> {
  if (input === null || out === null) {
    view.tie(input, out)
    return {}
  }
  view.tie(
    out,
    out.map((_, filter) => input[Math.floor(filter / multiplier)] ?? 0),
  )
  const { node } = view
  return {
    repair: (survivors) => ({
      ...node,
      attributes: new Map(node.attributes).set('group', intValue(survivors(input))),
    }),
  }
}

/** The same positions leave every group, so that groups stay equal and one axis of the weights serves them all. */
function grouped(view: NodeView, flow: Flow, group: number): Flow {
  const out = view.axis(1, 0)
  const input = view.axis(0, 1)
  if (out !== null) alikeInGroups(view, out, group)
  if (input === null) view.freeze(view.axis(1, 1), `${view.node.inputs[0]} cannot lose channels`)
  else {
    alikeInGroups(view, input, group)
    readChannels(view, input.subarray(0, input.length / group), 1)
  }
  return flow
}

function alikeInGroups(view: NodeView, channels: Labels, group: number): void {
  const each = channels.length / group
  for (const [at, label] of channels.entries()) view.labels.join(label, channels[at % each] ?? label)
}

/** Weights [C, M/group, ...kernel]. */
function convTranspose(view: NodeView): Flow | string {
  const data = view.shape(0)
  if (data === undefined) return UNKNOWN_SHAPE
  if (intAttribute(view.node, 'group', 1) !== 1) return 'a grouped ConvTranspose'
  if (view.constant(1) === undefined) return MADE_WEIGHTS
  freezeSpatial(view)
  const out = view.axis(1, 1)
  view.setRole(1, 1, 'filter')
  tieBias(view, out)
  readChannels(view, view.axis(0, 1), 0)
  return { outputs: [outputAxes(view, data.length, out)] }
}

function outputAxes(view: NodeView, rank: number, out: Axis): readonly Axis[] {
  return Array.from({ length: rank }, (_, axis) => (axis === 0 ? view.axis(0, 0) : axis === 1 ? out : null))
}

function readChannels(view: NodeView, input: Axis, weightsAxis: number): void {
  view.setRole(1, weightsAxis, 'reader')
  view.tie(input, view.axis(1, weightsAxis))
}

function tieBias(view: NodeView, out: Axis): void {
  if (!view.has(2)) return
  view.setRole(2, 0, 'bias')
  view.tie(out, view.axis(2, 0))
}
