import {
  type Attribute,
  floatTensor,
  int64Tensor,
  intsValue,
  intValue,
  type Model,
  type Node,
  type Tensor,
} from '@edgefit/shared/onnx'
import * as fc from 'fast-check'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'

const STEPS = [
  'conv',
  'depthwise',
  'grouped',
  'norm',
  'relu',
  'prelu',
  'scale',
  'residual',
  'concat',
  'concat-input',
  'split',
  'slice',
  'gate',
  'pool',
  'shuffle',
  'channels-last',
  'resize',
] as const
type Step = (typeof STEPS)[number]
const HEADS = ['flatten-gemm', 'reshape-gemm', 'mean-matmul', 'pool-conv'] as const

export interface Plan {
  readonly opset: number
  readonly steps: readonly Step[]
  readonly head: (typeof HEADS)[number]
  readonly seed: number
}

export const plans: fc.Arbitrary<Plan> = fc.record({
  opset: fc.constantFrom(7, 9, 11, 13, 17, 18, 21),
  steps: fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 7 }),
  head: fc.constantFrom(...HEADS),
  seed: fc.integer({ min: 1, max: 10_000 }),
})

export const INPUT_DIMS = [1, 4, 6, 6]

/** A network that begins with a convolution, goes through the plan's steps and ends in three outputs. */
export function networkOf({ opset, steps, head, seed }: Plan): Model {
  const nodes: Node[] = []
  const constants: Tensor[] = []
  let made = 0
  let current = { value: 'x', channels: 4 }

  const constant = (tensor: Tensor): string => {
    constants.push(tensor)
    return tensor.name
  }
  const random = (dims: readonly number[], scale = 1): string =>
    constant(randomTensor(`c${constants.length}`, dims, seed + constants.length, scale))
  const ints = (values: readonly number[]): string =>
    constant(int64Tensor(`c${constants.length}`, [values.length], values))
  const add = (opType: string, inputs: string, attributes: Readonly<Record<string, Attribute>> = {}): string => {
    const output = `v${++made}`
    nodes.push(op(opType, `${inputs} -> ${output}`, attributes))
    return output
  }
  const conv = (value: string, from: number, to: number, { kernel = 3, group = 1 } = {}): string => {
    const pad = (kernel - 1) / 2
    const weights = random([to, from / group, kernel, kernel], 1 / Math.sqrt((from / group) * kernel))
    return add('Conv', `${value} ${weights} ${random([to], 0.3)}`, {
      pads: intsValue([pad, pad, pad, pad]),
      group: intValue(group),
    })
  }

  const take: Readonly<Record<Step, () => void>> = {
    conv() {
      current = { value: conv(current.value, current.channels, 8), channels: 8 }
    },
    depthwise() {
      const { value, channels } = current
      current = { value: conv(value, channels, channels * 2, { group: channels }), channels: channels * 2 }
    },
    grouped() {
      const { value, channels } = current
      current = { value: conv(value, channels, 8, { group: 2 }), channels: 8 }
    },
    norm() {
      const { value, channels } = current
      const variance = constant(
        floatTensor(
          `c${constants.length}`,
          [channels],
          randomValues(channels, seed, 0.4).map((one) => one + 0.6),
        ),
      )
      const terms = [random([channels]), random([channels], 0.2), random([channels], 0.2), variance]
      current = { ...current, value: add('BatchNormalization', `${value} ${terms.join(' ')}`) }
    },
    relu() {
      current = { ...current, value: add('Relu', current.value) }
    },
    prelu() {
      current = { ...current, value: add('PRelu', `${current.value} ${random([current.channels, 1, 1], 0.3)}`) }
    },
    scale() {
      const scaled = add('Mul', `${random([current.channels, 1, 1])} ${current.value}`)
      current = { ...current, value: add('Sub', `${scaled} ${random([1, current.channels, 1, 1], 0.2)}`) }
    },
    residual() {
      const { value, channels } = current
      const inner = add('Relu', conv(value, channels, 6))
      current = { channels, value: add('Add', `${value} ${conv(inner, 6, channels)}`) }
    },
    concat() {
      const { value, channels } = current
      const left = conv(value, channels, 6)
      const right = conv(value, channels, 2, { kernel: 1 })
      current = { channels: 8 + channels, value: add('Concat', `${left} ${value} ${right}`, { axis: intValue(1) }) }
    },
    'concat-input'() {
      const same = add('Relu', 'x')
      current = {
        channels: current.channels + 4,
        value: add('Concat', `${same} ${current.value}`, { axis: intValue(1) }),
      }
    },
    split() {
      const { value, channels } = current
      const sizes = [channels / 2, channels / 2]
      const parts = `a${++made} b${made}`
      const attributes = { axis: intValue(1), ...(opset < 13 && seed % 2 === 0 ? { split: intsValue(sizes) } : {}) }
      const explicit = opset >= 13 && (opset < 18 ? seed % 2 === 0 : true)
      nodes.push(op('Split', `${value}${explicit ? ` ${ints(sizes)}` : ''} -> ${parts}`, attributes))
      const [left, right] = parts.split(' ')
      const changed = add('Relu', `${right}`)
      current = { channels, value: add('Concat', `${changed} ${left}`, { axis: intValue(1) }) }
    },
    slice() {
      const { value, channels } = current
      const cut = (from: number, to: number): string => {
        const bounds = { starts: [from], ends: [to], axes: [1] }
        if (opset >= 10) return add('Slice', `${value} ${Object.values(bounds).map(ints).join(' ')}`)
        const attributes = Object.entries(bounds).map(([name, values]) => [name, intsValue(values)])
        return add('Slice', value, Object.fromEntries(attributes))
      }
      const tail = add('Relu', cut(-3, 2 ** 31 - 1))
      current = { channels, value: add('Concat', `${tail} ${cut(0, channels - 3)}`, { axis: intValue(1) }) }
    },
    gate() {
      const { value, channels } = current
      const squeezed = add('Relu', conv(add('GlobalAveragePool', value), channels, 4, { kernel: 1 }))
      const gate = add('Sigmoid', conv(squeezed, 4, channels, { kernel: 1 }))
      current = { ...current, value: add('Mul', `${value} ${gate}`) }
    },
    pool() {
      const attributes = { kernel_shape: intsValue([3, 3]), pads: intsValue([1, 1, 1, 1]) }
      current = { ...current, value: add(seed % 2 === 0 ? 'MaxPool' : 'AveragePool', current.value, attributes) }
    },
    shuffle() {
      const { value, channels } = current
      const split = add('Reshape', `${value} ${ints([0, 2, channels / 2, 6, 6])}`)
      const turned = add('Transpose', split, { perm: intsValue([0, 2, 1, 3, 4]) })
      current = { ...current, value: add('Reshape', `${turned} ${ints([0, channels, 6, 6])}`) }
    },
    'channels-last'() {
      const last = add('Transpose', current.value, { perm: intsValue([0, 2, 3, 1]) })
      const scaled = add('Mul', `${last} ${random([current.channels])}`)
      current = { ...current, value: add('Transpose', scaled, { perm: intsValue([0, 3, 1, 2]) }) }
    },
    resize() {
      const pooled = add('MaxPool', current.value, { kernel_shape: intsValue([2, 2]), strides: intsValue([2, 2]) })
      if (opset < 11) {
        current = { ...current, value: add('Add', `${current.value} ${add('GlobalMaxPool', pooled)}`) }
        return
      }
      const scales = constant(floatTensor(`c${constants.length}`, [4], Float32Array.of(1, 1, 2, 2)))
      current = { ...current, value: add('Resize', `${pooled} ${opset < 13 ? scales : '_'} ${scales}`) }
    },
  }

  take.conv()
  for (const step of steps) take[step]()

  const { value, channels } = current
  const all = channels * 36
  if (head === 'flatten-gemm') {
    nodes.push(
      op('Flatten', `${value} -> f`),
      op('Gemm', `f ${random([3, all], 0.1)} ${random([3])} -> y`, { transB: intValue(1) }),
    )
  } else if (head === 'reshape-gemm') {
    nodes.push(op('Reshape', `${value} ${ints(seed % 2 === 0 ? [1, -1] : [-1, all])} -> f`))
    nodes.push(op('Gemm', `f ${random([all, 3], 0.1)} ${random([3])} -> y`))
  } else if (head === 'mean-matmul') {
    const axes = opset >= 18 ? ` ${ints([2, 3])}` : ''
    nodes.push(
      op('ReduceMean', `${value}${axes} -> f`, {
        keepdims: intValue(0),
        ...(opset >= 18 ? {} : { axes: intsValue([2, 3]) }),
      }),
      op('MatMul', `f ${random([channels, 3])} -> y`),
    )
  } else {
    nodes.push(op('GlobalAveragePool', `${value} -> f`), op('Conv', `f ${random([3, channels, 1, 1])} -> y`))
  }
  return modelOf({ inputs: { x: INPUT_DIMS }, outputs: ['y'], nodes, constants, opset })
}
