import { asFloat32, floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import type { Loss } from '../../../../agent/compress/train/step/losses.ts'
import type { TrainingData } from '../../../../agent/compress/train/training-data.ts'
import { firstOrderTerms, type WeightAxis } from '../../../../agent/compress/train/weight-gradients.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { openSession, run } from '../support/runtime.ts'

const BATCH = 16
const AXES: readonly WeightAxis[] = [
  { weight: 'w1', axis: 0 },
  { weight: 'w2', axis: 1 },
  { weight: 'w2', axis: 0 },
]
const CROSS_ENTROPY: Loss = { kind: 'cross-entropy', labelSmoothing: 0 }

const NETWORK: Model = modelOf({
  inputs: { x: ['n', 2, 4, 4] },
  outputs: ['y'],
  nodes: [
    op('Conv', 'x w1 b1 -> a'),
    op('Relu', 'a -> b'),
    op('Conv', 'b w2 -> c'),
    op('GlobalAveragePool', 'c -> d'),
    op('Flatten', 'd -> y'),
  ],
  constants: [
    randomTensor('w1', [5, 2, 3, 3], 1, 0.5),
    randomTensor('b1', [5], 2, 0.3),
    randomTensor('w2', [3, 5, 1, 1], 3),
  ],
})

function samples(count: number): TrainingData {
  const feeds = (indices: readonly number[]) => {
    const data = Float32Array.from(indices.flatMap((index) => [...randomValues(32, index + 1)]))
    return Promise.resolve({ x: { type: 'float32', dims: [indices.length, 2, 4, 4], data } as const })
  }
  const labels = (indices: readonly number[]) => Promise.resolve(Float64Array.from(indices, (index) => index % 3))
  return { count, hasLabels: true, feeds, labels }
}

async function termsOf(model: Model, count: number, axes = AXES, loss = CROSS_ENTROPY) {
  const batches: (readonly Float32Array[])[] = []
  const signal = new AbortController().signal
  const options = { data: samples(count), loss, samples: count, openSession, threads: 1, signal }
  const found = await firstOrderTerms(model, axes, { ...options, onProgress: () => undefined }, (terms) => {
    batches.push(terms)
  })
  return { ...found, batches }
}

/** The same loss from the outputs of the model as it serves. */
async function lossOf(model: Model, first: number): Promise<number> {
  const indices = Array.from({ length: BATCH }, (_, at) => first + at)
  const scores = (await run(model, await samples(first + BATCH).feeds(indices)))['y']?.data ?? []
  const labels = await samples(first + BATCH).labels(indices)
  return (
    labels.reduce((sum, label, at) => {
      const row = Array.from(scores as Float32Array).slice(3 * at, 3 * at + 3)
      return sum + Math.log(row.reduce((total, score) => total + Math.exp(score), 0)) - (row[label] ?? 0)
    }, 0) / BATCH
  )
}

/** `model` with what lies at one position of an axis times a factor. */
function scaled(model: Model, { weight, axis }: WeightAxis, position: number, factor: number): Model {
  const tensor = model.graph.initializers.get(weight) ?? floatTensor(weight, [], new Float32Array())
  const inner = tensor.dims.slice(axis + 1).reduce((product, dim) => product * dim, 1)
  const length = tensor.dims[axis] ?? 1
  const values = asFloat32(tensor).map((value, at) =>
    Math.floor(at / inner) % length === position ? factor * value : value,
  )
  const initializers = new Map(model.graph.initializers).set(weight, floatTensor(weight, tensor.dims, values))
  return { ...model, graph: { ...model.graph, initializers } }
}

describe('what slices of weights are worth to a loss', () => {
  it('is the slope of the loss as they are scaled, batch by batch', async () => {
    const { batches, missing, samples: seen } = await termsOf(NETWORK, 2 * BATCH + 3)
    expect(batches).toHaveLength(2)
    expect(seen).toBe(2 * BATCH)
    expect(missing.size).toBe(0)
    for (const [batch, terms] of batches.entries()) {
      for (const [at, axis] of AXES.entries()) {
        for (const [position, term] of (terms[at] ?? []).entries()) {
          const moved = (by: number) => lossOf(scaled(NETWORK, axis, position, 1 + by), batch * BATCH)
          expect(term).toBeCloseTo(((await moved(0.01)) - (await moved(-0.01))) / 0.02, 3)
        }
      }
    }
    expect(batches[0]?.[0]).not.toEqual(batches[1]?.[0])
  })

  it('is what the loss gains by a slice where it is linear in it, to the last', async () => {
    // A binary loss of large scores: log(1 + exp(z)) - z for label 1, which is -z far below zero.
    const linear = modelOf({
      inputs: { x: ['n', 3] },
      outputs: ['y'],
      nodes: [op('MatMul', 'x w1 -> a'), op('MatMul', 'a w2 -> y')],
      constants: [
        floatTensor('w1', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6)),
        floatTensor('w2', [2, 1], Float32Array.of(-10, -20)),
      ],
    })
    const data: TrainingData = {
      count: 1,
      hasLabels: true,
      feeds: () => Promise.resolve({ x: { type: 'float32', dims: [1, 3], data: Float32Array.of(1, 1, 2) } }),
      labels: () => Promise.resolve(Float64Array.of(1)),
    }
    const seen: (readonly Float32Array[])[] = []
    const options = { data, loss: { kind: 'binary-cross-entropy' }, samples: 1, openSession, threads: 1 } as const
    const { signal } = new AbortController()
    const axes = [
      { weight: 'w1', axis: 1 },
      { weight: 'w2', axis: 0 },
    ]
    await firstOrderTerms(linear, axes, { ...options, signal, onProgress: () => undefined }, (terms) =>
      seen.push(terms),
    )
    // Hidden values are 14 and 18: the loss is 140 + 360, and each hidden channel is worth what it adds.
    expect(seen.map((terms) => terms.map((values) => [...values]))).toEqual([
      [
        [140, 360],
        [140, 360],
      ],
    ])
  })

  it('names weights that the loss does not depend on', async () => {
    const { graph } = NETWORK
    const aside = {
      ...NETWORK,
      graph: {
        ...graph,
        nodes: [...graph.nodes, op('Conv', 'b w3 -> z')],
        outputs: [...graph.outputs, { name: 'z' }],
        initializers: new Map(graph.initializers).set('w3', randomTensor('w3', [2, 5, 1, 1], 4)),
      },
    }
    const { batches, missing } = await termsOf(aside, BATCH, [...AXES, { weight: 'w3', axis: 0 }])
    expect([...missing]).toEqual([['w3', 'the loss does not depend on it']])
    expect(batches[0]?.map(({ length }) => length)).toEqual([5, 5, 3, 0])
    await expect(termsOf(aside, BATCH, [{ weight: 'w3', axis: 0 }])).rejects.toMatchObject({
      code: 'MODEL_UNSUPPORTED',
    })
  })

  it('takes batches as the model has them fixed, and wants at least one', async () => {
    const fixed = {
      ...NETWORK,
      graph: {
        ...NETWORK.graph,
        inputs: modelOf({ inputs: { x: [4, 2, 4, 4] }, outputs: [], nodes: [] }).graph.inputs,
      },
    }
    expect((await termsOf(fixed, 9)).batches).toHaveLength(2)
    await expect(termsOf(fixed, 3)).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: 'gradients need at least 4 samples and there are 3; give more data',
    })
  })
})
