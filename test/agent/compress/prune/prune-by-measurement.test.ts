import { Recipe } from '@edgefit/shared/model'
import { asFloat32, floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { type BuildProgress, buildVariant } from '../../../../agent/compress/index.ts'
import { pruneChannels } from '../../../../agent/compress/prune/prune-channels.ts'
import { outputJudge } from '../../../../agent/compress/sensitivity/output-judge.ts'
import { modelOf, op, randomTensor } from '../support/graphs.ts'
import { calibrationOn, demoModel, fashionMnist } from '../support/real-models.ts'
import { openSession } from '../support/runtime.ts'
import { blockPredictor, pruning } from './support.ts'

const SAMPLES = 8
const source = calibrationOn(fashionMnist(), SAMPLES)

interface Surroundings {
  readonly predictor?: ReturnType<typeof blockPredictor>
  readonly onProgress?: (event: BuildProgress) => void
  readonly signal?: AbortSignal
}

/** The pass as a recipe in JSON has it. */
function build(model: Model, pass: object, surroundings: Surroundings = {}): ReturnType<typeof buildVariant> {
  return buildVariant({
    source: model,
    recipe: Recipe.parse({
      passes: [{ pass: 'prune-channels', ...pass }],
      runtime: { intraOpThreads: 1 },
    }),
    calibration: source,
    openSession,
    threads: 1,
    signal: new AbortController().signal,
    ...surroundings,
  })
}

async function predicted(...models: readonly Model[]): Promise<readonly number[]> {
  const one = (model: Model): Model => ({
    ...model,
    graph: { ...model.graph, inputs: [{ ...model.graph.inputs[0]!, type: IMAGE }], valueInfo: new Map() },
  })
  return await blockPredictor().predictMs(models.map(one), new AbortController().signal)
}
const IMAGE = { kind: 'tensor', dataType: 'FLOAT', shape: [1, 1, 28, 28] } as const

const widths = (model: Model) =>
  [...model.graph.initializers.values()].flatMap(({ dims }) => (dims.length === 4 ? [dims[0] ?? 0] : []))

describe('pruning to a latency', { timeout: 60_000 }, () => {
  it('meets the goal on the fast edges of the staircase, and says the predicted latencies', async () => {
    const model = demoModel('fashion-resnet14')
    const target = { by: 'saved-share', savedShare: 0.25, samples: SAMPLES, steps: 4 }
    const { model: pruned, reports } = await build(model, { target }, { predictor: blockPredictor() })
    const [before = 0, after = 0] = await predicted(model, pruned)
    expect(after).toBeLessThanOrEqual(0.75 * before)
    expect(widths(pruned).filter((width) => width % 16 !== 0)).toEqual([])
    expect(reports[0]?.notes[0]).toBe(
      `predicted to take ${after.toPrecision(3)} ms after and ${before.toPrecision(3)} ms before`,
    )
  })

  it('loses less than a ratio that is as fast', async () => {
    const model = demoModel('fashion-resnet14')
    const ratio = pruneChannels(model, pruning({ ratio: 0.25, alignTo: 16 })).result.model
    const [latencyMs = 0] = await predicted(ratio)
    const target = { by: 'latency', latencyMs, samples: SAMPLES, steps: 4 }
    const { model: pruned } = await build(model, { target }, { predictor: blockPredictor() })
    const signal = new AbortController().signal
    const judge = await outputJudge(model, { samples: SAMPLES, source, openSession, threads: 1, signal }, false)
    expect((await predicted(pruned))[0]).toBeLessThanOrEqual(latencyMs)
    const [byLatency, byRatio] = [await judge.noiseOf(pruned), await judge.noiseOf(ratio)]
    expect(byLatency.noiseRatio).toBeLessThan(0.9 * byRatio.noiseRatio)
  })

  it('gives the same bytes again, and from the resolved recipe without measuring', async () => {
    const model = demoModel('fashion-resnet14')
    const target = { by: 'saved-share', savedShare: 0.1, samples: 2, steps: 2 }
    const first = await build(model, { target }, { predictor: blockPredictor() })
    const again = await build(model, { target }, { predictor: blockPredictor() })
    expect(Buffer.compare(again.bytes, first.bytes)).toBe(0)
    const resolved = await build(model, JSON.parse(JSON.stringify(first.resolved.passes[0])))
    expect(Buffer.compare(resolved.bytes, first.bytes)).toBe(0)
    expect(resolved.resolved.passes).toEqual(first.resolved.passes)
  })

  it('reports how much is saved of what is to be saved', async () => {
    const told: BuildProgress[] = []
    const target = { by: 'saved-time', savedMs: 3, steps: 3, samples: 2 }
    const onProgress = (event: BuildProgress) => told.push(event)
    await build(demoModel('fashion-resnet14'), { target }, { predictor: blockPredictor(), onProgress })
    const steps = told.flatMap(({ calibration }) => calibration ?? [])
    expect(steps.length).toBeGreaterThan(1)
    expect(steps.every(({ stage, total }) => stage === 'pruning' && Math.abs(total - 3) < 1e-9)).toBe(true)
    const done = steps.map((step) => step.done)
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(done.at(-1)).toBeCloseTo(3, 9)
  })

  it('leaves a model alone that is fast enough', async () => {
    const model = demoModel('fashion-resnet14')
    const target = { by: 'latency', latencyMs: 1000, samples: 1 }
    const { model: same, resolved } = await build(model, { target }, { predictor: blockPredictor() })
    expect(same).toBe(model)
    expect(resolved.passes[0]).toMatchObject({ keep: {} })
  })

  it('takes the channels of a layer whose outputs nobody misses', async () => {
    const { model, idle } = withIdleLayer()
    const target = { by: 'saved-share', savedShare: 0.2, samples: 2, steps: 1 }
    const { resolved } = await build(model, { target }, { predictor: blockPredictor() })
    expect(Object.keys((resolved.passes[0] as { keep: object }).keep)).toEqual([idle])
  })

  it('refuses what cannot be reached, with what can', async () => {
    const target = { by: 'saved-share', savedShare: 0.999, samples: 1 }
    const refused = build(demoModel('fashion-resnet14'), { target }, { predictor: blockPredictor() })
    await expect(refused).rejects.toThrow(
      /predicted to save at most [\d.]+ ms of [\d.]+ ms, and [\d.]+ ms were asked for; ask for less in "target"/,
    )
    await expect(refused).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED' })
  })

  it('refuses where nothing is measured', async () => {
    const model = demoModel('fashion-resnet14')
    await expect(build(model, { target: { by: 'latency', latencyMs: 1, samples: 1 } })).rejects.toThrow(
      'target.by "latency" needs latencies of operators on this box',
    )
    await expect(build(model, { target: { by: 'ratio', ratio: 0.5 } })).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining('give "alignTo" a number'),
    })
  })

  it('crosses normalizations and depthwise layers', async () => {
    const model = demoModel('fashion-mobilenetv2')
    const target = { by: 'saved-share', savedShare: 0.1, samples: 1, steps: 1 }
    const { model: pruned } = await build(model, { target }, { predictor: blockPredictor() })
    const [before = 0, after = 0] = await predicted(model, pruned)
    expect(after).toBeLessThanOrEqual(0.9 * before)
  })

  it('ends between candidates when aborted', async () => {
    const ended = new AbortController()
    const predictor = blockPredictor()
    const aborting = {
      ...predictor,
      predictMs: (models: readonly Model[], signal: AbortSignal) => {
        if (predictor.models() > 0) ended.abort(new Error('enough'))
        return predictor.predictMs(models, signal)
      },
    }
    const target = { by: 'saved-share', savedShare: 0.2, samples: 2 }
    const pruned = build(demoModel('fashion-resnet14'), { target }, { predictor: aborting, signal: ended.signal })
    await expect(pruned).rejects.toThrow('enough')
  })
})

describe('a ratio aligned to what is measured', () => {
  it('keeps as many channels as are as fast', async () => {
    const model = demoModel('fashion-resnet14')
    const target = { by: 'ratio', ratio: 0.3 }
    const { model: pruned } = await build(model, { target }, { predictor: blockPredictor() })
    // Of 16, 64 and 128, 12, 45 and 90 were asked for; 7 full blocks take less than 6 of which one is not full.
    expect(new Set(widths(pruned))).toEqual(new Set([16, 48, 112]))
    const plain = pruneChannels(model, pruning({ ratio: 0.3 })).result.model
    const [aligned = 0, unaligned = 0] = await predicted(pruned, plain)
    expect(aligned).toBeLessThanOrEqual(unaligned)
  })
})

/** Two branches of which one is multiplied by next to nothing. */
function withIdleLayer(): { readonly model: Model; readonly idle: string } {
  const small = (name: string, dims: readonly number[]) =>
    floatTensor(
      name,
      dims,
      asFloat32(randomTensor(name, dims, 5)).map((value) => value * 1e-4),
    )
  const model = modelOf({
    inputs: { input: [1, 1, 28, 28] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'input w1 -> a'),
      op('Conv', 'a v1 -> b'),
      op('Conv', 'input w2 -> c'),
      op('Conv', 'c v2 -> d'),
      op('Add', 'b d -> y'),
    ],
    constants: [
      randomTensor('w1', [64, 1, 1, 1], 1),
      randomTensor('v1', [16, 64, 1, 1], 2),
      randomTensor('w2', [64, 1, 1, 1], 3),
      small('v2', [16, 64, 1, 1]),
    ],
  })
  return { model, idle: 'c' }
}
