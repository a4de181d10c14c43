import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  asFloat32,
  bindDimensions,
  loadModel,
  type Model,
  type Node,
  saveModel,
  symbolicDimensions,
} from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { foldBatchNorm } from '../../../agent/compress/fold-batch-norm.ts'
import { trainableWeights } from '../../../agent/compress/train/trainable.ts'

/** What both sides train: the same network, samples, labels and rates. */
export interface TrainJob {
  readonly batch: number
  readonly learningRate: number
  readonly momentum: number
  readonly input: string
  readonly output: string
  /** Names of the tensors that are trained. */
  readonly trained: readonly string[]
  readonly nodes: readonly JobNode[]
  /** Place of each float32 tensor in `tensors.bin`, counted in elements. The samples go by the input's name. */
  readonly tensors: Readonly<Record<string, { readonly at: number; readonly dims: readonly number[] }>>
}

interface JobNode {
  readonly opType: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, unknown>>
}

/** Writes the job of training the model of `modelPath` in batches of `batch` random samples, its batch norms folded. */
export async function writeTrainJob(folder: string, modelPath: string, batch: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  const folded = foldBatchNorm(await loadModel(modelPath)).model
  const model = bindDimensions(folded, Object.fromEntries([...symbolicDimensions(folded)].map((name) => [name, batch])))
  await saveModel(join(folder, 'model.onnx'), model)
  const { graph } = model
  const [input] = graph.inputs
  const [output] = graph.outputs
  if (input === undefined || output === undefined) throw new RangeError('a network without inputs or outputs')
  const dims = input.type?.kind === 'tensor' ? (input.type.shape ?? []).map(Number) : []
  const random = seededRandom(1)
  const samples = Float32Array.from({ length: dims.reduce((product, dim) => product * dim, 1) }, () => random() * 2 - 1)
  const labels = Float32Array.from({ length: batch }, (_, at) => at % classesOf(model))
  const chunks: Float32Array[] = []
  const tensors: Record<string, { at: number; dims: readonly number[] }> = {}
  let at = 0
  function put(name: string, shape: readonly number[], data: Float32Array): void {
    tensors[name] = { at, dims: shape }
    chunks.push(data)
    at += data.length
  }
  put(input.name, dims, samples)
  put('labels', [batch], labels)
  for (const tensor of graph.initializers.values()) {
    if (tensor.dataType === 'FLOAT') put(tensor.name, tensor.dims, asFloat32(tensor))
  }
  const job: TrainJob = {
    batch,
    learningRate: 0.01,
    momentum: 0.9,
    input: input.name,
    output: output.name,
    trained: trainableWeights(model, { kind: 'all' }).map(({ name }) => name),
    nodes: graph.nodes.map(jobNode),
    tensors,
  }
  await writeFile(join(folder, 'job.json'), JSON.stringify(job))
  await writeFile(
    join(folder, 'tensors.bin'),
    Buffer.concat(chunks.map((data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength))),
  )
}

function jobNode({ opType, inputs, outputs, attributes }: Node): JobNode {
  const plain = new Map<string, unknown>()
  for (const [name, attribute] of attributes) {
    if (attribute.kind === 'INT') plain.set(name, Number(attribute.value))
    if (attribute.kind === 'INTS') plain.set(name, attribute.value.map(Number))
    if (attribute.kind === 'FLOAT') plain.set(name, attribute.value)
  }
  return { opType, inputs, outputs, attributes: Object.fromEntries(plain) }
}

function classesOf({ graph }: Model): number {
  const type = graph.outputs[0]?.type
  return type?.kind === 'tensor' ? Number(type.shape?.at(-1) ?? 2) : 2
}
