import { type Pass, Recipe } from '@edgefit/shared/model'
import { asFloat32, encodeModel, indexGraph, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { runSamples } from '../../../../agent/compress/calibration/run-samples.ts'
import { buildVariant } from '../../../../agent/compress/index.ts'
import { pruneChannels } from '../../../../agent/compress/prune/prune-channels.ts'
import { pruning } from '../prune/support.ts'
import { randomValues } from '../support/graphs.ts'
import { float32, openSession } from '../support/runtime.ts'
import { SMALL_DIMS, smallNetwork } from '../support/small-network.ts'

const SAMPLES = 8
const signal = new AbortController().signal
// Inputs of another scale than those that weights are drawn for.
const calibration = {
  count: SAMPLES,
  batch: ([at = 0]: readonly number[]) => ({ x: float32(SMALL_DIMS, randomValues(256, at + 1, 20)) }),
}
const RANDOM = { kind: 'random', seed: 1, samples: SAMPLES }

function build(scaling: object, source = smallNetwork()) {
  return buildVariant({
    source,
    recipe: Recipe.parse({ passes: [{ pass: 'scale-width', ...scaling }], runtime: { intraOpThreads: 1 } }),
    calibration,
    openSession,
    threads: 1,
    signal,
  })
}

function resolvedOf({ resolved }: Awaited<ReturnType<typeof build>>): Extract<Pass, { pass: 'scale-width' }> {
  const [pass] = resolved.passes
  if (pass?.pass !== 'scale-width') throw new Error('another pass')
  return pass
}

/** Over all samples and numbers of each value. */
async function variancesOf(model: Model, values: readonly string[]): Promise<readonly number[]> {
  const seen = values.map(() => ({ count: 0, sum: 0, squares: 0 }))
  await runSamples(
    { samples: SAMPLES, source: calibration, openSession, threads: 1, signal },
    model,
    values,
    (outputs) => {
      for (const [at, value] of values.entries()) {
        const sums = seen[at] ?? { count: 0, sum: 0, squares: 0 }
        for (const number of (outputs[value]?.data ?? []) as Float32Array) {
          sums.count += 1
          sums.sum += number
          sums.squares += number ** 2
        }
      }
    },
  )
  return seen.map(({ count, sum, squares }) => squares / count - (sum / count) ** 2)
}

const dimsOf = ({ graph }: Model, node: string, input: number): readonly number[] => {
  const { inputs = [] } = graph.nodes.find(({ outputs }) => outputs[0] === node) ?? {}
  return indexGraph(graph).initializer(inputs[input] ?? '')?.dims ?? []
}

describe('scaling the width', { timeout: 60_000 }, () => {
  it('keeps the largest channels of every layer, as pruning all of them alike does', async () => {
    const { model, resolved, reports } = await build({ width: 0.5, alignTo: 1, weights: { kind: 'largest' } })
    const pruned = pruneChannels(smallNetwork(), pruning({ ratio: 0.5 }))
    expect(encodeModel(model)).toEqual(encodeModel(pruned.result.model))
    expect(dimsOf(model, 'a', 1)).toEqual([4, 4, 3, 3])
    // Its outputs are normalized together, and stay.
    expect(dimsOf(model, 'c', 1)).toEqual([8, 4, 3, 3])
    expect(reports[0]?.notes).toEqual(pruned.result.notes)
    expect(resolved.passes).toEqual([{ pass: 'scale-width', width: 0.5, alignTo: 1, weights: { kind: 'largest' } }])
  })

  it('rounds what is left up to a multiple', async () => {
    const { model } = await build({ width: 0.3, alignTo: 8, weights: { kind: 'largest' } })
    // 2.4 of 8 become 8, 9.6 of 32 become 16.
    expect(dimsOf(model, 'a', 1)).toEqual([8, 4, 3, 3])
    expect(dimsOf(model, 'h', 1)).toEqual([8, 16])
  })

  it.each([0.5, 1])('of random weights makes layers of unit variance, at width %d', async (width) => {
    const { model, reports } = await build({ width, alignTo: 1, weights: RANDOM })
    for (const variance of await variancesOf(model, ['a', 'c', 'h', 'y'])) expect(variance).toBeCloseTo(1, 2)
    expect(dimsOf(model, 'a', 1)).toEqual([8 * width, 4, 3, 3])
    const constant = (name: string) => [...asFloat32(indexGraph(model.graph).initializer(name) ?? fail(name))]
    expect(new Set(constant('gamma'))).toEqual(new Set([1]))
    expect(new Set(constant('scale'))).toEqual(new Set([1]))
    expect(new Set(constant('variance'))).toEqual(new Set([1]))
    for (const name of ['beta', 'mean', 'b2', 'b4']) expect(new Set(constant(name))).toEqual(new Set([0]))
    expect(reports[0]?.notes[0]).toMatch(/^drew \d+ tensors of weights anew/)
  })

  it('draws other weights with another seed, and knows nothing of those there were', async () => {
    const bytesOf = async (scaling: object, source?: Model) => (await build({ width: 1, ...scaling }, source)).bytes
    const first = await bytesOf({ weights: RANDOM })
    expect(await bytesOf({ weights: RANDOM })).toEqual(first)
    expect(await bytesOf({ weights: { ...RANDOM, seed: 2 } })).not.toEqual(first)
    const { graph } = smallNetwork()
    const zeros = [...graph.initializers.values()].map((tensor) => ({
      ...tensor,
      data: new Uint8Array(tensor.data.length),
    }))
    expect(await bytesOf({ weights: RANDOM }, smallNetwork({ constants: zeros }))).toEqual(first)
  })

  it('resolved, refuses the scales of another model', async () => {
    const { weights, ...pass } = resolvedOf(await build({ width: 0.5, weights: RANDOM }))
    expect(Object.keys(weights.kind === 'random' ? (weights.scales ?? {}) : {}).sort()).toEqual([
      'w1',
      'w2',
      'w3',
      'w4',
    ])
    await expect(build({ ...pass, weights: { ...weights, scales: { nothing: 1 } } })).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining('weights.scales names "nothing"'),
    })
  })
})

function fail(name: string): never {
  throw new Error(`no constant ${name}`)
}
