import { intAttribute } from '@edgefit/shared/onnx'
import { type Flow, freezeSpatial, type NodeView, type Rules, UNKNOWN_SHAPE } from '../rule.ts'

/** Those that treat each channel by itself. Layer and group normalization mix channels and have no rule. */
export const normalizationRules: Rules = { BatchNormalization: perChannel, InstanceNormalization: perChannel }

function perChannel(view: NodeView): Flow | string {
  if (view.shape(0) === undefined) return UNKNOWN_SHAPE
  if (intAttribute(view.node, 'spatial', 1) === 0) return 'it normalizes every position by itself'
  if (intAttribute(view.node, 'training_mode', 0) !== 0) return 'it is in training mode'
  if (view.node.outputs.slice(1).some((output) => output !== '')) return 'it gives its statistics away'
  if (view.node.opType === 'InstanceNormalization') freezeSpatial(view)
  const axes = view.axes(0)
  for (let position = 1; position < view.node.inputs.length; position++) {
    view.setRole(position, 0, position === 1 ? 'norm-scale' : 'norm-shift')
    view.tie(axes[1] ?? null, view.axis(position, 0))
  }
  return { outputs: [axes] }
}
