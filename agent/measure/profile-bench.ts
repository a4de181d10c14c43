import { encodeModel, floatTensor, int8Tensor, type Model, node, type Tensor, uint8Tensor } from '@edgefit/shared/onnx'
import { median, sortedCopy } from '@edgefit/shared/stats'
import type { FeedTensor } from '../compress/index.ts'
import { openSession } from './ort-session.ts'
import type { JobHandlers } from './serve-job.ts'

/** One product of [ROWS, DEPTH] and [DEPTH, COLUMNS]: 67 million multiply-adds, weights of 1 MiB in float. */
const ROWS = 128
const DEPTH = 512
const COLUMNS = 512
const OPERATIONS = 2 * ROWS * DEPTH * COLUMNS

const BUDGET_MS = 400
const MIN_RUNS = 5
const COPY_BYTES = 32 << 20

/**
 * How fast this box multiplies and copies, in a few seconds: for people who compare boxes. What decides about a
 * model is the model's own measurement.
 */
export const profileBench: JobHandlers['profile-bench'] = async ({ threads }, report) => {
  report('measuring', 0)
  const fp32Ms = await productMs(floatProduct(), 'float32', new Float32Array(ROWS * DEPTH).fill(0.5), threads)
  report('measuring', 0.4)
  // As models are quantized for each: the ARM kernels want both sides signed, the x64 ones unsigned activations.
  const int8Ms =
    process.arch === 'arm64'
      ? await productMs(quantizedProduct('INT8'), 'int8', new Int8Array(ROWS * DEPTH).fill(3), threads)
      : await productMs(quantizedProduct('UINT8'), 'uint8', new Uint8Array(ROWS * DEPTH).fill(3), threads)
  report('measuring', 0.8)
  const copyMs = await medianMs(copyOnce())
  return {
    fp32Gflops: OPERATIONS / fp32Ms / 1e6,
    int8Gops: OPERATIONS / int8Ms / 1e6,
    // Read once and written once.
    memoryGBps: (2 * COPY_BYTES) / copyMs / 1e6,
  }
}

async function productMs(model: Model, type: FeedTensor['type'], data: FeedTensor['data'], threads: number) {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads })
  const feeds = { x: { type, dims: [ROWS, DEPTH], data } }
  const durationMs = await medianMs(async () => {
    await session.run(feeds)
  })
  await session.release()
  return durationMs
}

function copyOnce(): () => Promise<void> {
  const from = new Uint8Array(COPY_BYTES).fill(1)
  const to = new Uint8Array(COPY_BYTES).fill(2)
  return () => {
    to.set(from)
    return Promise.resolve()
  }
}

/** Median over the second half of the runs that fit the budget; the first half is the warm-up. */
async function medianMs(action: () => Promise<void>): Promise<number> {
  const durationsMs: number[] = []
  const start = performance.now()
  while (performance.now() - start < BUDGET_MS || durationsMs.length < MIN_RUNS) {
    const before = performance.now()
    await action()
    durationsMs.push(performance.now() - before)
  }
  return median(sortedCopy(durationsMs.slice(durationsMs.length >> 1)))
}

function floatProduct(): Model {
  const weights = floatTensor('w', [DEPTH, COLUMNS], new Float32Array(DEPTH * COLUMNS).fill(0.25))
  return modelOf('FLOAT', [weights], node({ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }))
}

function quantizedProduct(type: 'INT8' | 'UINT8'): Model {
  const activation = type === 'INT8' ? int8Tensor('z', [], new Int8Array(1)) : uint8Tensor('z', [], new Uint8Array(1))
  const constants = [
    activation,
    floatTensor('s', [], Float32Array.of(0.02)),
    int8Tensor('w', [DEPTH, COLUMNS], new Int8Array(DEPTH * COLUMNS).fill(5)),
    int8Tensor('wz', [], new Int8Array(1)),
  ]
  const inputs = ['x', 's', 'z', 'w', 's', 'wz', 's', 'z']
  return modelOf(type, constants, node({ opType: 'QLinearMatMul', inputs, outputs: ['y'] }))
}

function modelOf(
  dataType: 'FLOAT' | 'INT8' | 'UINT8',
  constants: readonly Tensor[],
  product: Model['graph']['nodes'][0],
) {
  return {
    irVersion: 8,
    opsetImports: new Map([['', 13]]),
    producerName: 'edgefit',
    producerVersion: '',
    metadata: new Map<string, string>(),
    graph: {
      name: 'product',
      nodes: [product],
      initializers: new Map(constants.map((tensor) => [tensor.name, tensor])),
      inputs: [{ name: 'x', type: { kind: 'tensor', dataType, shape: [ROWS, DEPTH] } }],
      outputs: [{ name: 'y', type: { kind: 'tensor', dataType, shape: [ROWS, COLUMNS] } }],
      valueInfo: new Map(),
    },
  } satisfies Model
}
