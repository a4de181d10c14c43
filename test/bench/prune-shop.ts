import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import type { LatencyRatio, RuntimeSettings, SplitSpec } from '@edgefit/shared/model'
import { loadModel, type Model, saveModel } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { simplify } from '../../agent/compress/simplify.ts'
import { createChildRunner } from '../../agent/measure/child.ts'
import type { JobRunner } from '../../agent/measure/runner.ts'
import { withRandomWeights } from '../agent/compress/prune/support.ts'
import { sharedPath } from '../agent/compress/support/real-models.ts'
import { benchModels } from './models.ts'
import { LOCK_PATH } from './ptq-workshop.ts'

export const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const EFFORT = { minDurationMs: 3000, minQueries: 64, maxQueries: 100_000, maxDurationMs: 20_000 }
export const TIMEOUT_MS = 30 * 60_000
const SAMPLES = 8

export interface PruneSubject {
  readonly name: string
  load(): Promise<Model>
}

export interface Dataset {
  readonly datasetDir: string
  readonly split: SplitSpec
}

/** Runs what is measured in child processes, as the agent does. */
export interface PruneShop {
  readonly runner: JobRunner
  readonly signal: AbortSignal
  /** A new name in a folder that goes in the end. */
  path(name: string): string
  save(model: Model): Promise<string>
  /** Latency of the first file over that of the second, by turns. */
  ratio(path: string, baseline: string, data: Dataset): Promise<LatencyRatio>
  close(): Promise<void>
}

export async function openPruneShop(): Promise<PruneShop> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-prune-'))
  const runner = await createChildRunner({ lockPath: LOCK_PATH })
  const signal = AbortSignal.timeout(4 * 60 * 60_000)
  let names = 0
  const path = (name: string) => join(folder, `${names++}-${name}`)
  return {
    runner,
    signal,
    path,
    async save(model) {
      const to = path('model.onnx')
      await saveModel(to, model)
      return to
    },
    async ratio(variant, baseline, data) {
      const measured = await runner.run<'measure-against'>(
        {
          kind: 'measure-against',
          variant: { path: variant, runtime: RUNTIME },
          baseline: { path: baseline, runtime: RUNTIME },
          samples: { ...data, which: 'evaluation' },
          effort: EFFORT,
        },
        { timeoutMs: TIMEOUT_MS },
        signal,
      )
      if (measured.kind === 'failed') throw new Error(`${variant}: ${measured.message}`)
      return measured.value.latencyRatio
    },
    close: () => rm(folder, { recursive: true, force: true }),
  }
}

/** With one input, called `input`: values of a dataset are files, and names of inputs may hold what names of files may not. */
export function pruneSubjects(only: string): readonly PruneSubject[] {
  const known = benchModels()
    .filter(({ name }) => !name.includes('VWW'))
    .map(({ name, modelPath }) => ({ name, load: () => loadModel(modelPath) }))
  const light = [
    ['light ResNet-50 224', 'light_resnet50'],
    ['light ShuffleNet 224', 'light_shufflenet'],
    ['light DenseNet-121 224', 'light_densenet121'],
  ].flatMap(([name = '', file = '']) => {
    const path = sharedPath(`onnx_light/${file}.onnx`)
    // Their weights are all alike, which some kernels might profit from.
    return existsSync(path) ? [{ name, load: async () => withRandomWeights(simplify(await loadModel(path))) }] : []
  })
  return [...known, ...light]
    .filter(({ name }) => name.includes(only))
    .map(({ name, load }) => ({ name, load: async () => withPlainInput(await load()) }))
}

function withPlainInput(model: Model): Model {
  const [input] = model.graph.inputs
  if (input === undefined) throw new RangeError('a model without inputs')
  const { graph } = model
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((value) => (value === input.name ? 'input' : value)),
  }))
  return { ...model, graph: { ...graph, nodes, inputs: [{ ...input, name: 'input' }, ...graph.inputs.slice(1)] } }
}

/** Noise of the shape that the model's only input has: good for time, and for nothing else. */
export async function noiseFor(model: Model, { path, signal }: PruneShop): Promise<Dataset> {
  const type = model.graph.inputs[0]?.type
  const [, ...dims] = type?.kind === 'tensor' ? (type.shape ?? []) : []
  const shape = [SAMPLES, ...dims.map(Number)]
  const random = seededRandom(1)
  const count = shape.reduce((product, dim) => product * dim, 1)
  const data = Float32Array.from({ length: count }, () => random() * 2 - 1)
  const datasetDir = path('data')
  await writeNpz(`${datasetDir}.npz`, [{ name: 'input', dtype: 'float32', shape, data }], {}, signal)
  await unpackNpz(`${datasetDir}.npz`, datasetDir, signal)
  return { datasetDir, split: { seed: 0, calibration: 2, tuning: 2, evaluation: SAMPLES - 4 } }
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

/** What is saved, with its interval of 95 %. */
export function saved({ ratio, low, high }: LatencyRatio): string {
  return `${percent(1 - ratio)} (${percent(1 - high)} to ${percent(1 - low)})`
}
