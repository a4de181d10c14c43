import { describeIo, loadModel, type Model, modelCost } from '@edgefit/shared/onnx'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dependencyGroups } from '../../../../agent/compress/prune/dependency-groups.ts'
import { simplify } from '../../../../agent/compress/simplify.ts'
import { randomValues } from '../support/graphs.ts'
import { demoModel, hasSharedModels, sharedPath } from '../support/real-models.ts'
import { float32, relativeError, run } from '../support/runtime.ts'
import { INPUT_DIMS, networkOf, plans } from './random-networks.ts'
import { prunedAndZeroed, withRandomWeights } from './support.ts'

function feedsOf(model: Model) {
  const [input] = describeIo(model).inputs
  const dims = (input?.dims ?? []).map((dim) => (typeof dim === 'number' ? dim : 2))
  const count = dims.reduce((product, dim) => product * dim, 1)
  if (input?.type === 'int64') {
    const data = BigInt64Array.from({ length: count }, (_, at) => BigInt((at * 37) % 200))
    return { [input.name]: { type: 'int64' as const, dims, data } }
  }
  return { [input?.name ?? '']: float32(dims, randomValues(count, 7)) }
}

async function errorOf(before: Model, after: Model): Promise<number> {
  const feeds = feedsOf(before)
  const [expected] = Object.values(await run(before, feeds))
  const [actual] = Object.values(await run(after, feeds))
  expect(actual?.dims).toEqual(expected?.dims)
  expect(new Set(Array.from(expected?.data ?? [], Number)).size).toBeGreaterThan(1)
  return relativeError(expected, actual)
}

describe('a pruned model says what the whole one says once the pruned channels make nothing', {
  timeout: 120_000,
}, () => {
  it.each(['fashion-resnet14', 'fashion-mobilenetv2'])('%s', async (name) => {
    const source = demoModel(name)
    for (const ratio of [0.25, 0.5]) {
      const { pruned, zeroed } = prunedAndZeroed(source, { ratio })
      expect(await errorOf(zeroed, pruned)).toBeLessThan(1e-5)
      expect(await errorOf(source, pruned)).toBeGreaterThan(1e-3)
    }
  })

  it.skipIf(!hasSharedModels).each(['mlperf_kws_dscnn', 'mobilenet_v2', 'clinc150_transformer'])('%s', async (name) => {
    const source = await loadModel(sharedPath(`${name}/model.onnx`))
    for (const ratio of [0.25, 0.5]) {
      const { pruned, zeroed } = prunedAndZeroed(source, { ratio })
      expect(await errorOf(zeroed, pruned)).toBeLessThan(1e-5)
    }
  })

  it.skipIf(!hasSharedModels).each([
    ['light_resnet50', 0.6],
    ['light_shufflenet', 0.9],
    ['light_densenet121', 0.6],
  ])('%s with random weights, opset 9', async (name, macs) => {
    const light = simplify(await loadModel(sharedPath(`onnx_light/${name}.onnx`)))
    const source = withRandomWeights(light)
    for (const ratio of [0.25, 0.5]) {
      const { pruned, zeroed } = prunedAndZeroed(source, { ratio })
      expect(await errorOf(zeroed, pruned)).toBeLessThan(1e-5)
      expect(modelCost(pruned).macs / modelCost(source).macs).toBeLessThan(macs)
    }
  })

  it.skipIf(!hasSharedModels)('Silero VAD, which cuts channels in two with Slice', async () => {
    const source = await loadModel(sharedPath('silero_vad/silero_vad_16k_op15.onnx'))
    const feeds = {
      input: float32([1, 576], randomValues(576, 3)),
      state: float32([2, 1, 128], randomValues(256, 4)),
      sr: { type: 'int64' as const, dims: [], data: BigInt64Array.of(16_000n) },
    }
    const { pruned, zeroed } = prunedAndZeroed(source, { ratio: 0.25 })
    const before = await run(zeroed, feeds)
    const after = await run(pruned, feeds)
    for (const name of ['output', 'stateN']) expect(relativeError(before[name], after[name])).toBeLessThan(1e-5)
  })

  it('random networks of every opset', async () => {
    await fc.assert(
      fc.asyncProperty(
        plans,
        fc.constantFrom(0.2, 0.5, 0.9),
        fc.constantFrom('per-layer', 'global'),
        async (plan, ratio, scope) => {
          const source = networkOf(plan)
          // Several shuffles may tie all channels there are.
          fc.pre(dependencyGroups(source).groups.length > 0)
          const { pruned, zeroed } = prunedAndZeroed(source, { ratio, scope })
          const feeds = { x: float32(INPUT_DIMS, randomValues(144, plan.seed)) }
          const [before] = Object.values(await run(zeroed, feeds))
          const [after] = Object.values(await run(pruned, feeds))
          expect(relativeError(before, after)).toBeLessThan(1e-5)
        },
      ),
      { numRuns: 100, seed: 1 },
    )
  })
})
