import { type Pass, Recipe } from '@edgefit/shared/model'
import { asFloat32, floatTensor, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type CalibrationSource } from '../../../../agent/compress/index.ts'
import { smoothQuant } from '../../../../agent/compress/repair/smooth-quant.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { batchOf, calibrationOn, hasSharedModels, intents, sharedModel } from '../support/real-models.ts'
import { float32, openSession, relativeError, run } from '../support/runtime.ts'

function block(readers: readonly string[] = ['y']): Model {
  return modelOf({
    inputs: { x: [1, 5, 4] },
    outputs: ['y', 'z'],
    nodes: [
      op('LayerNormalization', 'x gamma beta -> n'),
      op('MatMul', 'n w -> y'),
      op('MatMul', 'n v -> z'),
      ...(readers.includes('sum') ? [op('Add', 'x n -> sum')] : []),
    ],
    constants: [
      floatTensor('gamma', [4], Float32Array.of(1, 50, 0.1, 1)),
      floatTensor('beta', [4], Float32Array.of(0, 3, 1, -1)),
      randomTensor('w', [4, 6], 1),
      randomTensor('v', [4, 3], 2),
    ],
  })
}

const feeds = { x: float32([1, 5, 4], randomValues(20, 1)) }
const one: CalibrationSource = { count: 1, batch: () => feeds }
const SMOOTH: Pass = { pass: 'smooth-quant', alpha: 0.5, samples: 1 }

function build(source: Model, passes: readonly Pass[], calibration = one) {
  const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
  const recipe: Recipe = { schemaVersion: 1, passes: [...passes], runtime }
  const signal = new AbortController().signal
  return buildVariant({ source, recipe, calibration, openSession, threads: 1, signal })
}

describe('SmoothQuant', () => {
  it('keeps the outputs and shares the outliers between activations and weights', async () => {
    const model = block()
    const { model: smoothed, reports } = await build(model, [SMOOTH])
    const [before, after] = [await run(model, feeds, 'disabled'), await run(smoothed, feeds, 'disabled')]
    expect(relativeError(before['y'], after['y'])).toBeLessThan(1e-5)
    expect(relativeError(before['z'], after['z'])).toBeLessThan(1e-5)

    // α = ½: activations and weights end with the same largest magnitude in each channel.
    const { maxima } = await observed(smoothed)
    const weights = [...smoothed.graph.initializers.values()].filter(({ dims }) => dims.length === 2)
    for (let channel = 0; channel < 4; channel++) {
      const rows = weights.flatMap((tensor) => {
        const columns = tensor.dims[1] ?? 0
        return [...asFloat32(tensor).subarray(channel * columns, (channel + 1) * columns)]
      })
      expect(Math.max(...rows.map(Math.abs))).toBeCloseTo(maxima[channel] ?? 0, 4)
    }
    expect(reports[0]?.notes).toEqual(['1 normalizations smoothed'])
  })

  async function observed(model: Model): Promise<{ maxima: readonly number[] }> {
    const { resolved } = await build(model, [SMOOTH])
    const [pass] = resolved.passes
    return { maxima: (pass?.pass === 'smooth-quant' ? pass.maxima?.['n'] : undefined) ?? [] }
  }

  it('embeds what it found: the same bytes without calibration', async () => {
    const { bytes, resolved } = await build(block(), [SMOOTH])
    const parsed = Recipe.parse(JSON.parse(JSON.stringify(resolved)))
    const again = await build(block(), parsed.passes, { count: 0, batch: () => ({}) })
    expect(again.bytes).toEqual(bytes)
  })

  it('moves everything into the weights for α = 1', () => {
    const scaled = smoothQuant(block(), 1).apply(new Map([['n', [2, 2, 2, 2]]])).model
    const gamma = [...scaled.graph.initializers.values()].find(({ name }) => name.startsWith('gamma'))
    expect(gamma === undefined ? [] : [...asFloat32(gamma)]).toEqual([0.5, 25, Math.fround(0.05), 0.5])
  })

  it('says why where others read the normalization', () => {
    const model = block(['sum'])
    const { notes } = smoothQuant(
      { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, { name: 'sum' }] } },
      0.5,
    ).apply(new Map())
    expect(notes).toEqual([
      'no normalization to smooth',
      'LayerNormalization "LayerNormalization:n": not smoothed, others than products with constant weights read it',
    ])
  })

  it.each([
    ['of another model', { other: [1, 1, 1, 1] }],
    ['of another size', { n: [1] }],
  ])('refuses maxima %s', async (_, maxima) => {
    await expect(build(block(), [{ ...SMOOTH, maxima }])).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
  })

  it.skipIf(!hasSharedModels)('keeps the outputs of a transformer', async () => {
    const model = sharedModel('clinc150_transformer/model.onnx')
    const samples = intents('val')
    const { model: smoothed, reports } = await build(model, [{ ...SMOOTH, samples: 20 }], calibrationOn(samples, 20))
    const given = batchOf(samples, 20, 60)
    const [[before], [after]] = [Object.values(await run(model, given)), Object.values(await run(smoothed, given))]
    expect(relativeError(before, after)).toBeLessThan(1e-5)
    expect(reports[0]?.notes[0]).toBe('4 normalizations smoothed')
  })
})
