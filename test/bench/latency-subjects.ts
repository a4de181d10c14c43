import { existsSync } from 'node:fs'
import type { Recipe } from '@edgefit/shared/model'
import { bindDimensions, describeIo, loadModel, type Model, symbolicDimensions } from '@edgefit/shared/onnx'
import { seededRandom } from '@edgefit/shared/stats'
import { buildVariant } from '../../agent/compress/index.ts'
import { madeUpFeeds } from '../../agent/measure/made-up-feeds.ts'
import { openSession } from '../../agent/measure/ort-session.ts'
import { convolutionChain } from '../agent/compress/latency/support.ts'
import { withRandomWeights } from '../agent/compress/prune/support.ts'
import { sharedPath } from '../agent/compress/support/real-models.ts'
import { benchModels } from './models.ts'

interface Form {
  readonly form: string
  readonly model: Model
}

interface LatencySubject {
  readonly name: string
  forms(): Promise<readonly Form[]>
}

const FOLD: Recipe['passes'] = [{ pass: 'fold-batch-norm' }]
const INT8: Recipe['passes'] = [
  {
    pass: 'quantize-static',
    activations: { type: process.arch === 'arm64' ? 'int8' : 'uint8' },
    weights: { type: 'int8', perChannel: true, reducedRange: false },
    calibration: { method: 'minmax', samples: 2 },
    exclude: [],
  },
]

/** Each whole and quantized, and where channels can go, so with less of them. */
export function latencySubjects(): readonly LatencySubject[] {
  const labelled = benchModels().map(({ name, modelPath }) =>
    subject(name, modelPath, { prunable: !name.includes('VWW') }),
  )
  const others = [
    subject('pneumonia', sharedPath('pneumonia_mnist/model.onnx'), { prunable: false }),
    subject('clinc150 transformer', sharedPath('clinc150_transformer/model.onnx'), { prunable: false }),
    // The weights of these are all alike, and would stay so in integers.
    subject('light ShuffleNet 224', sharedPath('onnx_light/light_shufflenet.onnx'), { prunable: false, random: true }),
    subject('light ResNet-50 224', sharedPath('onnx_light/light_resnet50.onnx'), { prunable: true, random: true }),
    subject('light DenseNet-121 224', sharedPath('onnx_light/light_densenet121.onnx'), {
      prunable: false,
      random: true,
    }),
  ]
  return [...labelled, ...others.flatMap((one) => one ?? [])].flatMap((one) => one ?? [])
}

function subject(
  name: string,
  path: string,
  { prunable, random = false }: { readonly prunable: boolean; readonly random?: boolean },
): LatencySubject | undefined {
  if (!existsSync(path)) {
    process.stderr.write(`skipped ${name}: ${path} is not there\n`)
    return undefined
  }
  return {
    name,
    async forms() {
      const loaded = withFixedLengths(await loadModel(path))
      const source = random ? withRandomWeights(await built(loaded, [{ pass: 'fold-constants' }])) : loaded
      const forms: Form[] = [
        { form: 'fp32', model: source },
        { form: 'int8', model: await built(source, [...FOLD, ...INT8]) },
      ]
      for (const ratio of prunable ? [0.25, 0.5] : []) {
        const pruned = await built(source, [pruning(ratio), ...FOLD])
        const share = `${100 * ratio} % pruned`
        forms.push({ form: `fp32, ${share}`, model: pruned })
        forms.push({ form: `int8, ${share}`, model: await built(pruned, INT8) })
      }
      return forms
    },
  }
}

function withFixedLengths(model: Model): Model {
  return bindDimensions(model, Object.fromEntries([...symbolicDimensions(model)].map((name) => [name, 1])))
}

/** As many channels as the ratio says and no rounder number, which is hard for the runtime's kernels and for a prediction. */
function pruning(ratio: number): Recipe['passes'][number] {
  return {
    pass: 'prune-channels',
    target: { by: 'ratio', ratio, scope: 'per-layer', alignTo: 1 },
    importance: 'l2',
    exclude: [],
  }
}

async function built(source: Model, passes: Recipe['passes']): Promise<Model> {
  const { model } = await buildVariant({
    source,
    recipe: {
      schemaVersion: 1,
      passes,
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    },
    // Noise: this is about time, which does not depend on what a model says.
    calibration: { count: 2, batch: ([index = 0]) => madeUpFeeds(describeIo(source).inputs, seededRandom(index)) },
    openSession,
    threads: 1,
    signal: AbortSignal.timeout(30 * 60_000),
  })
  return model
}

/** Four convolutions from as many channels to as many: what a channel more or less costs. */
export async function convolutions(channels: readonly number[]): Promise<readonly Form[]> {
  const forms: Form[] = []
  for (const count of channels) {
    const model = convolutionChain({ channels: count, layers: 4, side: 28 })
    forms.push({ form: `fp32, ${count} channels`, model })
    forms.push({ form: `int8, ${count} channels`, model: await built(model, INT8) })
  }
  return forms
}
