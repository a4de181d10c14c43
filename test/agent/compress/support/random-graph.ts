import {
  type Attribute,
  floatTensor,
  floatValue,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  stringValue,
  type Tensor,
} from '@edgefit/shared/onnx'
import * as fc from 'fast-check'
import { modelOf, op, randomTensor, randomValues } from './graphs.ts'

const STEPS = [
  'conv',
  'strided',
  'grouped',
  'depthwise',
  'same-upper',
  'norm',
  'relu',
  'clip',
  'sigmoid',
  'hard-swish',
  'leaky',
  'residual',
  'gate',
  'squeeze-excite',
  'scale',
  'shift',
  'concat',
  'split',
  'max-pool',
  'average-pool',
  'transpose',
  'transposes',
  'pad',
  'reshape',
  'identity',
  'dropout',
  'nothing',
  'transposed-conv',
  'shape-chain',
  'computed-weights',
  'slice-all',
  'pad-none',
] as const
type Step = (typeof STEPS)[number]

const HEADS = ['gemm', 'mat-mul', 'mat-mul-3d', 'global', 'none'] as const
const OPSETS = [9, 11, 13, 17, 18, 21] as const

export interface GraphPlan {
  readonly opset: (typeof OPSETS)[number]
  readonly steps: readonly Step[]
  readonly head: (typeof HEADS)[number]
  readonly bias: boolean
  /** Whether a value between is an output too. */
  readonly tap: boolean
  readonly batch: number
  /** Whether the batch is a symbol in the model. */
  readonly open: boolean
  readonly seed: number
}

export const graphPlans: fc.Arbitrary<GraphPlan> = fc.record({
  opset: fc.constantFrom(...OPSETS),
  steps: fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 9 }),
  head: fc.constantFrom(...HEADS),
  bias: fc.boolean(),
  tap: fc.boolean(),
  batch: fc.constantFrom(1, 2),
  open: fc.boolean(),
  seed: fc.integer({ min: 1, max: 10_000 }),
})

/** NCHW, of which only the number of channels is certain for a value. */
interface Feature {
  readonly value: string
  readonly channels: number
  readonly size: readonly [number, number]
}

export function inputDims({ batch }: GraphPlan): readonly number[] {
  return [batch, 4, 8, 8]
}

/** The plan as a valid model: convolutional, then what its head says. Outputs are `y` and, with a tap, `between`. */
export function graphOf(plan: GraphPlan): Model {
  const { opset, bias, seed } = plan
  const nodes: Node[] = []
  const constants: Tensor[] = []
  let made = 0
  let current: Feature = { value: 'x', channels: 4, size: [8, 8] }
  let earlier = current

  const constant = (tensor: Tensor): string => {
    constants.push(tensor)
    return tensor.name
  }
  const random = (dims: readonly number[], scale = 1): string =>
    constant(randomTensor(`c${constants.length}`, dims, seed + constants.length, scale))
  const positive = (count: number): string =>
    constant(
      floatTensor(
        `c${constants.length}`,
        [count],
        randomValues(count, seed + constants.length, 0.4).map((value) => value + 0.6),
      ),
    )
  const ints = (...values: readonly number[]): string =>
    constant(int64Tensor(`c${constants.length}`, [values.length], values))
  const number = (value: number): string => constant(floatTensor(`c${constants.length}`, [], Float32Array.of(value)))
  const add = (opType: string, inputs: string, attributes: Readonly<Record<string, Attribute>> = {}): string => {
    const output = `v${++made}`
    nodes.push(op(opType, `${inputs} -> ${output}`, attributes))
    return output
  }
  const conv = (
    { value, channels, size }: Feature,
    to: number,
    { kernel = 3, group = 1, stride = 1, auto = false, dilation = 1 } = {},
  ): Feature => {
    const pad = (dilation * (kernel - 1)) / 2
    const weights = random([to, channels / group, kernel, kernel], 1 / Math.sqrt((channels / group) * kernel))
    return {
      value: add('Conv', `${value} ${weights}${bias ? ` ${random([to], 0.3)}` : ''}`, {
        ...(auto ? { auto_pad: stringValue('SAME_UPPER') } : { pads: intsValue([pad, pad, pad, pad]) }),
        group: intValue(group),
        strides: intsValue([stride, stride]),
        dilations: intsValue([dilation, dilation]),
      }),
      channels: to,
      size: [Math.ceil(size[0] / stride), Math.ceil(size[1] / stride)],
    }
  }
  const same = (value: string): Feature => ({ ...current, value })
  const clip = (value: string, low: number, high: number): string =>
    opset < 11
      ? add('Clip', value, { min: floatValue(low), max: floatValue(high) })
      : add('Clip', `${value} ${number(low)} ${number(high)}`)
  const hardSwish = (value: string): string =>
    opset >= 14 ? add('HardSwish', value) : add('Mul', `${value} ${add('HardSigmoid', value)}`)
  const isLarge = (): boolean => current.size[0] >= 4 && current.size[1] >= 4
  const isLike = (other: Feature): boolean =>
    other.channels === current.channels && other.size[0] === current.size[0] && other.size[1] === current.size[1]

  const take: Readonly<Record<Step, () => Feature>> = {
    conv: () => conv(current, 8),
    strided: () => (isLarge() ? conv(current, 6, { stride: 2 }) : conv(current, 6, { kernel: 1 })),
    grouped: () => conv(current, 8, { group: current.channels % 2 === 0 ? 2 : 1 }),
    depthwise: () => conv(current, current.channels, { group: current.channels, dilation: isLarge() ? 2 : 1 }),
    'same-upper': () => conv(current, 4, { stride: isLarge() ? 2 : 1, auto: true }),
    norm: () => {
      const count = current.channels
      const terms = [positive(count), random([count], 0.3), random([count], 0.2), positive(count)].join(' ')
      return same(add('BatchNormalization', `${current.value} ${terms}`, { epsilon: floatValue(1e-3) }))
    },
    relu: () => same(add('Relu', current.value)),
    clip: () => same(clip(current.value, 0, 6)),
    sigmoid: () => same(add('Sigmoid', current.value)),
    'hard-swish': () => same(hardSwish(current.value)),
    leaky: () => same(add('LeakyRelu', current.value, { alpha: floatValue(0.1) })),
    residual: () => {
      const other = isLike(earlier) ? earlier : conv(current, current.channels, { kernel: 1 })
      return same(add('Add', `${current.value} ${other.value}`))
    },
    gate: () => same(add('Mul', `${current.value} ${add('Sigmoid', conv(current, current.channels).value)}`)),
    'squeeze-excite': () => {
      const pooled: Feature = { ...same(add('GlobalAveragePool', current.value)), size: [1, 1] }
      const squeezed = conv(pooled, 3, { kernel: 1 })
      const excited = conv({ ...squeezed, value: add('Relu', squeezed.value) }, current.channels, { kernel: 1 })
      return same(add('Mul', `${current.value} ${clip(add('Sigmoid', excited.value), 0, 1)}`))
    },
    scale: () => same(add('Mul', `${random([current.channels, 1, 1])} ${current.value}`)),
    shift: () => same(add('Add', `${current.value} ${random([1, current.channels, 1, 1], 0.3)}`)),
    concat: () => {
      const other = conv(current, 4, { kernel: 1 })
      const value = add('Concat', `${other.value} ${current.value}`, { axis: intValue(1) })
      return { ...current, value, channels: current.channels + 4 }
    },
    split: () => {
      const [first, second] = [`a${++made}`, `b${made}`]
      const half = current.channels / 2
      if (!Number.isInteger(half)) return same(add('Relu', current.value))
      const sizes = opset >= 13 ? ` ${ints(half, half)}` : ''
      const attributes = { axis: intValue(1), ...(opset < 13 ? { split: intsValue([half, half]) } : {}) }
      nodes.push(op('Split', `${current.value}${sizes} -> ${first} ${second}`, attributes))
      return same(add('Concat', `${add('Relu', second)} ${first}`, { axis: intValue(1) }))
    },
    'max-pool': () => {
      if (!isLarge()) return same(add('Relu', current.value))
      const value = add('MaxPool', current.value, { kernel_shape: intsValue([2, 2]), strides: intsValue([2, 2]) })
      return { ...current, value, size: [Math.floor(current.size[0] / 2), Math.floor(current.size[1] / 2)] }
    },
    'average-pool': () =>
      same(
        add('AveragePool', current.value, {
          kernel_shape: intsValue([3, 3]),
          pads: intsValue([1, 1, 1, 1]),
          count_include_pad: intValue(seed % 2),
        }),
      ),
    transpose: () => {
      const [height, width] = current.size
      return { ...same(add('Transpose', current.value, { perm: intsValue([0, 1, 3, 2]) })), size: [width, height] }
    },
    transposes: () => {
      const last = add('Transpose', current.value, { perm: intsValue([0, 2, 3, 1]) })
      const scaled = add('Mul', `${last} ${random([current.channels])}`)
      return same(add('Transpose', scaled, { perm: intsValue([0, 3, 1, 2]) }))
    },
    pad: () => {
      const pads = [0, 0, 1, 0, 0, 0, 0, 1]
      const value =
        opset < 11
          ? add('Pad', current.value, { pads: intsValue(pads), value: floatValue(0.5) })
          : add('Pad', `${current.value} ${ints(...pads)} ${number(0.5)}`)
      return { ...current, value, size: [current.size[0] + 1, current.size[1] + 1] }
    },
    reshape: () => {
      const [height, width] = current.size
      const flat = add('Reshape', `${current.value} ${ints(0, current.channels, -1)}`)
      return same(add('Reshape', `${flat} ${ints(plan.batch, current.channels, height, width)}`))
    },
    identity: () => same(add('Identity', current.value)),
    dropout: () => same(add('Dropout', current.value)),
    nothing: () =>
      same(add('Transpose', add('Cast', current.value, { to: intValue(1) }), { perm: intsValue([0, 1, 2, 3]) })),
    'shape-chain': () => {
      const [height, width] = current.size
      const batch = add('Gather', `${add('Shape', current.value)} ${ints(0)}`)
      const target = add('Concat', `${batch} ${ints(-1)} ${ints(height, width)}`, { axis: intValue(0) })
      return same(add('Reshape', `${current.value} ${target}`))
    },
    'computed-weights': () => {
      const { channels } = current
      const turned = add('Transpose', random([channels, 5, 1, 1], 0.5), { perm: intsValue([1, 0, 2, 3]) })
      const scaled = add('Mul', `${turned} ${random([5, 1, 1, 1])}`)
      return { ...current, value: add('Conv', `${current.value} ${scaled}`), channels: 5 }
    },
    'slice-all': () => {
      const end = 2 ** 31 - 1
      if (opset >= 10) return same(add('Slice', `${current.value} ${ints(0)} ${ints(end)} ${ints(1)}`))
      const bounds = { starts: intsValue([0]), ends: intsValue([end]), axes: intsValue([1]) }
      return same(add('Slice', current.value, bounds))
    },
    'pad-none': () => {
      const pads = new Array<number>(8).fill(0)
      return same(
        opset < 11
          ? add('Pad', current.value, { pads: intsValue(pads) })
          : add('Pad', `${current.value} ${ints(...pads)}`),
      )
    },
    'transposed-conv': () => {
      const { channels, size } = current
      const weights = random([channels, 4, 3, 3], 0.3)
      const value = add('ConvTranspose', `${current.value} ${weights}${bias ? ` ${random([4], 0.2)}` : ''}`, {
        pads: intsValue([1, 1, 1, 1]),
      })
      return { value, channels: 4, size }
    },
  }

  for (const step of plan.steps) {
    const before = current
    current = take[step]()
    if (step === 'relu' || step === 'conv') earlier = before
  }
  const between = current.value
  const all = current.channels * current.size[0] * current.size[1]
  switch (plan.head) {
    case 'gemm':
      nodes.push(
        op('Flatten', `${current.value} -> f`),
        op('Gemm', `f ${random([3, all], 0.2)} ${random([3])} -> y`, { transB: intValue(1) }),
      )
      break
    case 'mat-mul':
      nodes.push(op('Reshape', `${current.value} ${ints(plan.batch, -1)} -> f`))
      nodes.push(op('MatMul', `f ${random([all, 5], 0.2)} -> m`), op('Add', `m ${random([5])} -> y`))
      break
    case 'mat-mul-3d':
      nodes.push(op('Reshape', `${current.value} ${ints(0, current.channels, -1)} -> f`))
      nodes.push(op('Transpose', 'f -> t', { perm: intsValue([0, 2, 1]) }))
      nodes.push(
        op('MatMul', `t ${random([current.channels, 6], 0.5)} -> m`),
        op('Softmax', 'm -> y', { axis: intValue(2) }),
      )
      break
    case 'global':
      nodes.push(op('GlobalAveragePool', `${current.value} -> f`))
      nodes.push(op('Conv', `f ${random([3, current.channels, 1, 1])} -> y`))
      break
    case 'none':
      nodes.push(op('Neg', `${current.value} -> y`))
  }
  const outputs = plan.tap && between !== 'x' ? ['y', between] : ['y']
  return modelOf({
    inputs: { x: plan.open ? ['batch', ...inputDims(plan).slice(1)] : inputDims(plan) },
    outputs,
    nodes,
    constants,
    opset,
    irVersion: opset >= 21 ? 10 : 8,
  })
}
