import { floatTensor, floatValue, intsValue, intValue, type Model, type Node, type Tensor } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, operatorCounts, optimized, relativeError, run } from '../support/runtime.ts'
import { quantized } from '../support/static.ts'

const CHANNELS = 4
const DIMS = [1, CHANNELS, 8, 8]
const WINDOW = { kernel_shape: intsValue([3, 3]), pads: intsValue([1, 1, 1, 1]) }
const OPERATORS =
  'conv conv conv depthwise relu relu6 add add multiply concat maxpool averagepool leaky sigmoid shift scale transpose tanh'.split(
    ' ',
  )

/** A network of 6 to 16 operators that keep the shape, wired at random: residuals, gates, values read several times. */
function randomNetwork(seed: number): Model {
  const random = randomValues(200, seed).values()
  const next = (count: number): number => Math.floor((((random.next().value ?? 0) + 1) / 2) * count)
  const nodes: Node[] = []
  const constants: Tensor[] = [floatTensor('zero', [], Float32Array.of(0)), floatTensor('six', [], Float32Array.of(6))]
  const values = ['x']
  const constant = (dims: readonly number[]): string => {
    const tensor = randomTensor(`c${constants.length}`, dims, seed * 100 + constants.length, 0.5)
    constants.push(tensor)
    return tensor.name
  }
  const conv = (from: string, to: string, inputs: number, group = 1): Node => {
    const weights = constant([CHANNELS, inputs, 3, 3])
    return op('Conv', `${from} ${weights} ${constant([CHANNELS])} -> ${to}`, {
      pads: intsValue([1, 1, 1, 1]),
      group: intValue(group),
    })
  }
  const steps = 6 + next(11)
  for (let step = 0; step < steps; step++) {
    // Mostly a chain.
    const from = values[next(10) < 7 ? values.length - 1 : next(values.length)] ?? 'x'
    const other = values[next(values.length)] ?? 'x'
    const to = `v${step}`
    const kind = OPERATORS[next(OPERATORS.length)] ?? 'conv'
    switch (step === 0 ? 'conv' : kind) {
      case 'depthwise':
        nodes.push(conv(from, to, 1, CHANNELS))
        break
      case 'relu':
        nodes.push(op('Relu', `${from} -> ${to}`))
        break
      case 'relu6':
        nodes.push(op('Clip', `${from} zero six -> ${to}`))
        break
      case 'add':
        nodes.push(op('Add', `${from} ${other} -> ${to}`))
        break
      case 'multiply':
        nodes.push(op('Mul', `${from} ${other} -> ${to}`))
        break
      case 'concat':
        nodes.push(op('Concat', `${from} ${other} -> ${to}c`, { axis: intValue(1) }), conv(`${to}c`, to, 2 * CHANNELS))
        break
      case 'maxpool':
        nodes.push(op('MaxPool', `${from} -> ${to}`, WINDOW))
        break
      case 'averagepool':
        nodes.push(op('AveragePool', `${from} -> ${to}`, { ...WINDOW, count_include_pad: intValue(next(2)) }))
        break
      case 'leaky':
        nodes.push(op('LeakyRelu', `${from} -> ${to}`, { alpha: floatValue(0.2) }))
        break
      case 'sigmoid':
        nodes.push(op('Sigmoid', `${from} -> ${to}`))
        break
      case 'shift':
        nodes.push(op('Add', `${from} ${constant([CHANNELS, 1, 1])} -> ${to}`))
        break
      case 'scale':
        nodes.push(op('Mul', `${constant([1])} ${from} -> ${to}`))
        break
      case 'transpose':
        nodes.push(op('Transpose', `${from} -> ${to}`, { perm: intsValue([0, 1, 3, 2]) }))
        break
      case 'tanh':
        nodes.push(op('Tanh', `${from} -> ${to}`))
        break
      default:
        nodes.push(conv(from, to, CHANNELS))
    }
    values.push(to)
  }
  const read = new Set(nodes.flatMap((node) => node.inputs))
  const outputs = values.filter((value) => value !== 'x' && !read.has(value))
  return modelOf({ inputs: { x: DIMS }, outputs, nodes, constants: constants.filter(({ name }) => read.has(name)) })
}

describe('random networks, statically quantized', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed + 1))(
    'run in integers as the file says, seed %d',
    async (seed) => {
      const model = randomNetwork(seed)
      const convs = model.graph.nodes.filter(({ opType }) => opType === 'Conv').map(({ name }) => name)
      const exclude = seed % 3 === 0 ? convs.slice(1, 2) : []
      const activations = seed % 2 === 0 ? 'uint8' : 'int8'
      const feeds = { x: float32(DIMS, randomValues(CHANNELS * 64, seed)) }

      const { model: result } = await quantized(model, feeds, { activations, exclude })

      const { Conv = 0, FusedConv = 0 } = operatorCounts(await optimized(result, { arm: activations === 'int8' }))
      expect(Conv + FusedConv).toBe(exclude.length)
      const [float, fused, unfused] = [
        await run(model, feeds),
        await run(result, feeds),
        await run(result, feeds, 'disabled'),
      ]
      for (const name of Object.keys(float)) {
        expect(relativeError(unfused[name], fused[name])).toBeLessThan(0.02)
        expect(relativeError(float[name], fused[name])).toBeLessThan(0.25)
      }
    },
  )
})
