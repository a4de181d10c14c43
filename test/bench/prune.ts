/** Channels removed against time saved: MACs on paper, latency by turns with the whole model. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { unpackNpz, writeNpz } from '@edgefit/shared/dataset'
import type { LatencyRatio, RuntimeSettings } from '@edgefit/shared/model'
import { bindDimensions, loadModel, type Model, modelCost, saveModel, symbolicDimensions } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { pruneChannels } from '../../agent/compress/prune/prune-channels.ts'
import { simplify } from '../../agent/compress/simplify.ts'
import { createChildRunner } from '../../agent/measure/child.ts'
import type { JobRunner } from '../../agent/measure/runner.ts'
import { withRandomWeights } from '../agent/compress/prune/support.ts'
import { benchModels } from './models.ts'

const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const EFFORT = { minDurationMs: 3000, minQueries: 64, maxQueries: 100_000, maxDurationMs: 20_000 }
const TIMEOUT_MS = 5 * 60_000
const RATIOS = [0.25, 0.5]
/** 16 is the block of the runtime's float kernels on x64. */
const MULTIPLES = [1, 16]
const SAMPLES = 8

interface Source {
  readonly name: string
  load(): Promise<Model>
}

interface Row {
  readonly model: string
  readonly ratio: number
  readonly multipleOf: number
  /** Of the whole model, 0 to 1. */
  readonly macsRemoved: number
  readonly bytesRemoved: number
  readonly latency: LatencyRatio
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, only: { type: 'string' } },
  })
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-prune-'))
  try {
    const runner = await createChildRunner({ lockPath: join(tmpdir(), 'edgefit-measuring.lock') })
    const rows: Row[] = []
    for (const [at, source] of sources().entries()) {
      if (values.only !== undefined && !source.name.includes(values.only)) continue
      process.stderr.write(`${source.name}\n`)
      rows.push(...(await benchModel(source, runner, join(folder, String(at)))))
    }
    console.log(values.json ? JSON.stringify(rows, null, 2) : table(rows))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function sources(): readonly Source[] {
  const known = benchModels()
    .filter(({ name }) => !name.includes('VWW'))
    .map(({ name, modelPath }) => ({ name, load: () => loadModel(modelPath) }))
  const resNet = fileURLToPath(new URL('../../../shared/models/onnx_light/light_resnet50.onnx', import.meta.url))
  if (!existsSync(resNet)) return known
  // Its weights are all alike, which some kernels might profit from.
  const load = async () => withRandomWeights(simplify(await loadModel(resNet)))
  return [...known, { name: 'light ResNet-50 224', load }]
}

async function benchModel({ name, load }: Source, runner: JobRunner, folder: string): Promise<Row[]> {
  const signal = AbortSignal.timeout(30 * 60_000)
  const whole = withPlainInput(await load())
  const baseline = `${folder}-whole.onnx`
  await saveModel(baseline, whole)
  const datasetDir = `${folder}-data`
  await writeSamples(whole, datasetDir, signal)
  const before = costOf(whole)
  const rows: Row[] = []
  for (const multipleOf of MULTIPLES) {
    for (const ratio of RATIOS) {
      const path = `${folder}-${ratio}-${multipleOf}.onnx`
      const { result } = pruneChannels(whole, {
        pass: 'prune-channels',
        target: { by: 'ratio', ratio, scope: 'per-layer', alignTo: multipleOf },
        importance: 'l2',
        exclude: [],
      })
      await saveModel(path, result.model)
      const measured = await runner.run<'measure-against'>(
        {
          kind: 'measure-against',
          variant: { path, runtime: RUNTIME },
          baseline: { path: baseline, runtime: RUNTIME },
          samples: {
            datasetDir,
            split: { seed: 0, calibration: 2, tuning: 2, evaluation: SAMPLES - 4 },
            which: 'evaluation',
          },
          effort: EFFORT,
        },
        { timeoutMs: TIMEOUT_MS },
        signal,
      )
      if (measured.kind === 'failed') throw new Error(`${name}: ${measured.message}`)
      const after = costOf(result.model)
      rows.push({
        model: name,
        ratio,
        multipleOf,
        macsRemoved: 1 - after.macs / before.macs,
        bytesRemoved: 1 - after.weightBytes / before.weightBytes,
        latency: measured.value.latencyRatio,
      })
    }
  }
  return rows
}

/** Values of a dataset are files, and names of inputs may hold what names of files may not. */
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

async function writeSamples(model: Model, datasetDir: string, signal: AbortSignal): Promise<void> {
  const type = model.graph.inputs[0]?.type
  const [, ...dims] = type?.kind === 'tensor' ? (type.shape ?? []) : []
  const shape = [SAMPLES, ...dims.map(Number)]
  const random = seededRandom(1)
  const count = shape.reduce((product, dim) => product * dim, 1)
  const data = Float32Array.from({ length: count }, () => random() * 2 - 1)
  const npz = `${datasetDir}.npz`
  await writeNpz(npz, [{ name: 'input', dtype: 'float32', shape, data }], {}, signal)
  await unpackNpz(npz, datasetDir, signal)
}

function costOf(model: Model) {
  return modelCost(bindDimensions(model, Object.fromEntries([...symbolicDimensions(model)].map((name) => [name, 1]))))
}

function table(rows: readonly Row[]): string {
  const header = ['model', 'pruned', 'multiple of', 'MACs removed', 'weights removed', 'time removed (95 %)']
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
  const body = rows.map(({ model, ratio, multipleOf, macsRemoved, bytesRemoved, latency }) => [
    model,
    percent(ratio),
    String(multipleOf),
    percent(macsRemoved),
    percent(bytesRemoved),
    `${percent(1 - latency.ratio)} (${percent(1 - latency.high)} to ${percent(1 - latency.low)})`,
  ])
  return [header, header.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
