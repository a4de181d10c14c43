import { int64Tensor, intsValue, intValue, type Node } from '@edgefit/shared/onnx'
import { type Random, seededRandom } from '@edgefit/shared/stats'
import { describe, it } from 'vitest'
import { op } from '../../support/graphs.ts'
import { expectGradients } from '../support/finite-difference.ts'

/** Each makes a value of shape [3, 4] from two others. */
const STEPS: readonly ((a: string, b: string, y: string) => readonly Node[])[] = [
  (a, b, y) => [op('Add', `${a} ${b} -> ${y}`)],
  (a, b, y) => [op('Sub', `${a} ${b} -> ${y}`)],
  (a, b, y) => [op('Tanh', `${a} -> ${y}/t`), op('Mul', `${y}/t ${b} -> ${y}`)],
  (a, _, y) => [op('Sigmoid', `${a} -> ${y}`)],
  (a, _, y) => [op('Softmax', `${a} -> ${y}`)],
  (a, b, y) => [op('Erf', `${a} -> ${y}/e`), op('Sum', `${y}/e ${b} ${a} -> ${y}`)],
  (a, _, y) => [op('Tanh', `${a} -> ${y}/t`), op('MatMul', `${y}/t w -> ${y}`)],
  (a, _, y) => [op('Tanh', `${a} -> ${y}/t`), op('Gemm', `${y}/t w bias -> ${y}`)],
  (a, _, y) => [op('LayerNormalization', `${a} bias bias -> ${y}`)],
  (a, b, y) => [
    op('ReduceMean', `${a} -> ${y}/m`, { axes: intsValue([1]) }),
    op('Tanh', `${y}/m -> ${y}/t`),
    op('Mul', `${y}/t ${b} -> ${y}`),
  ],
  (a, b, y) => [op('Concat', `${a} ${b} -> ${y}/c`, { axis: intValue(1) }), op('Slice', `${y}/c two six one -> ${y}`)],
  (a, b, y) => [
    op('Split', `${a} halves -> ${y}/l ${y}/r`, { axis: intValue(1) }),
    op('Softplus', `${y}/l -> ${y}/s`),
    op('Concat', `${y}/r ${y}/s -> ${y}/c`, { axis: intValue(1) }),
    op('Add', `${y}/c ${b} -> ${y}`),
  ],
  (a, _, y) => [
    op('Reshape', `${a} turned -> ${y}/r`),
    op('Transpose', `${y}/r -> ${y}/t`),
    op('Tanh', `${y}/t -> ${y}`),
  ],
]

const CONSTANTS = [
  int64Tensor('two', [1], [2]),
  int64Tensor('six', [1], [6]),
  int64Tensor('one', [1], [1]),
  int64Tensor('halves', [2], [2, 2]),
  int64Tensor('turned', [2], [4, 3]),
]

/** Values are read again and again, also those that the loss looks at. */
function randomGraph(random: Random): { readonly nodes: readonly Node[]; readonly outputs: readonly string[] } {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item
  const values = ['x', 'z']
  const nodes: Node[] = []
  for (let count = 0; count < 8; count++) {
    const y = `v${count}`
    nodes.push(...pick(STEPS)(pick(values.slice(-3)), pick(values), y))
    values.push(y)
  }
  const read = new Set(nodes.flatMap((node) => node.inputs))
  return { nodes, outputs: values.filter((value) => value === 'v4' || (value.startsWith('v') && !read.has(value))) }
}

describe('the gradients of random graphs', () => {
  it.each(Array.from({ length: 24 }, (_, seed) => seed))('agree with differences, seed %i', async (seed) => {
    const { nodes, outputs } = randomGraph(seededRandom(seed))
    const read = new Set(nodes.flatMap((node) => node.inputs))
    const inputs = { x: [3, 4], z: [3, 4], w: [4, 4], bias: [4] }
    await expectGradients({
      nodes,
      outputs,
      inputs: Object.fromEntries(Object.entries(inputs).filter(([name]) => read.has(name))),
      constants: CONSTANTS,
      tolerance: 3e-3,
    })
  })
})
