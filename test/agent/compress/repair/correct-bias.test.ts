import { type Pass, Recipe } from '@edgefit/shared/model'
import { asFloat32, asInt32, floatTensor, intsValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { buildVariant, type CalibrationSource } from '../../../../agent/compress/index.ts'
import { prepareForQuantization } from '../../../../agent/compress/prepare-for-quantization.ts'
import { collectChannels } from '../../../../agent/compress/repair/collect-channels.ts'
import { findBiasShifts, isPlausible } from '../../../../agent/compress/repair/correct-bias.ts'
import { findQuantizedLayers } from '../../../../agent/compress/repair/quantized-layers.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, openSession, operatorCounts, optimized } from '../support/runtime.ts'

const SAMPLES = 8
const RUNTIME = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const signal = new AbortController().signal

/** A layer without bias, one with, one whose bias is added behind; weights that one scale for all suits badly. */
function network(): Model {
  const coarse = asFloat32(randomTensor('w1', [6, 3, 3, 3], 1, 0.02)).with(0, 9)
  return modelOf({
    inputs: { x: [1, 3, 8, 8] },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a', { pads: intsValue([1, 1, 1, 1]) }),
      op('Relu', 'a -> b'),
      op('Conv', 'b w2 b2 -> c'),
      op('Relu', 'c -> d'),
      op('Flatten', 'd -> e'),
      op('MatMul', 'e w3 -> f'),
      op('Add', 'f b3 -> g'),
      op('Relu', 'g -> h'),
      op('Gemm', 'h w4 -> y'),
    ],
    constants: [
      floatTensor('w1', [6, 3, 3, 3], coarse),
      randomTensor('w2', [4, 6, 3, 3], 2),
      randomTensor('b2', [4], 3),
      randomTensor('w3', [144, 10], 4),
      randomTensor('b3', [10], 5),
      randomTensor('w4', [10, 3], 6),
    ],
  })
}

const samples: CalibrationSource = {
  count: SAMPLES,
  batch: ([index = 0]) => ({
    x: float32(
      [1, 3, 8, 8],
      randomValues(192, index + 1).map((value) => value + 0.7),
    ),
  }),
}

function quantizeStatic(perChannel: boolean): Pass {
  return {
    pass: 'quantize-static',
    activations: { type: 'uint8' },
    weights: { type: 'int8', perChannel, reducedRange: false },
    calibration: { method: 'minmax', samples: SAMPLES },
    exclude: [],
  }
}

const CORRECT: Pass = { pass: 'correct-bias', samples: SAMPLES }

function build(passes: readonly Pass[], source = network()) {
  const recipe: Recipe = { schemaVersion: 1, passes: [...passes], runtime: RUNTIME }
  return buildVariant({ source, recipe, calibration: samples, openSession, threads: 1, signal })
}

/** Largest distance of a layer's mean outputs from those of the float model, by the value's name. */
async function meanErrors(quantized: Model): Promise<ReadonlyMap<string, number>> {
  const float = prepareForQuantization(network())
  const { layers } = findQuantizedLayers(quantized, float)
  const sampling = { samples: SAMPLES, source: samples, openSession, threads: 1, signal }
  const means = (model: Model, name: (layer: (typeof layers)[number]) => string) =>
    collectChannels(
      model,
      layers.map((layer) => ({ ...layer, value: name(layer), statistic: 'mean' as const })),
      sampling,
    )
  const expected = await means(float, ({ floatValue }) => floatValue)
  const actual = await means(quantized, ({ output }) => output)
  return new Map(
    layers.map(({ floatValue }, at) => [
      floatValue,
      Math.max(...[...(expected[at] ?? [])].map((mean, channel) => Math.abs(mean - (actual[at]?.[channel] ?? 0)))),
    ]),
  )
}

describe('bias correction', () => {
  it.each([false, true])(
    'makes the mean of every layer that of the float model, per channel: %s',
    async (perChannel) => {
      const before = await meanErrors((await build([quantizeStatic(perChannel)])).model)
      const { model, reports } = await build([quantizeStatic(perChannel), CORRECT])
      const after = await meanErrors(model)

      expect([...before.keys()]).toEqual(['a', 'c', 'g', 'y'])
      for (const [value, error] of after) expect(error).toBeLessThan(Math.max(1e-4, 0.02 * (before.get(value) ?? 0)))
      expect(Math.max(...before.values())).toBeGreaterThan(0.02)
      expect(reports.at(-1)?.notes).toEqual(['biases of 4 layers corrected'])
    },
  )

  it('changes nothing but biases and keeps the integer kernels', async () => {
    const { model: before } = await build([quantizeStatic(true)])
    const { model } = await build([quantizeStatic(true), CORRECT])
    expect(operatorCounts(await optimized(model))).toEqual(operatorCounts(await optimized(before)))
    const biases = [...model.graph.initializers.values()].filter(({ dataType }) => dataType === 'INT32')
    // Two that were there, one of which came from the Add, and those of the first and the last layer.
    expect(biases.map(({ dims }) => dims)).toEqual(expect.arrayContaining([[6], [4], [3]]))
    expect(biases.flatMap((tensor) => [...asInt32(tensor)]).some((value) => value !== 0)).toBe(true)
  })

  it('embeds what it found: the same bytes without calibration', async () => {
    const { bytes, resolved } = await build([quantizeStatic(false), CORRECT])
    const none: CalibrationSource = { count: 0, batch: () => Promise.reject(new Error('asked for a sample')) }
    const again = await buildVariant({
      source: network(),
      recipe: Recipe.parse(JSON.parse(JSON.stringify(resolved))),
      calibration: none,
      openSession,
      threads: 1,
      signal,
    })
    expect(again.bytes).toEqual(bytes)
  })

  it('refuses a model in float', async () => {
    await expect(build([CORRECT], network())).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining('put quantize-static before it'),
    })
  })

  it.each([
    ['of another model', { nothing: [1] }],
    ['of another size', { a: [1, 2] }],
  ])('refuses shifts %s', async (_, shifts) => {
    const passes = [quantizeStatic(true), { ...CORRECT, shifts }]
    await expect(build(passes)).rejects.toMatchObject({ code: 'RECIPE_INVALID' })
  })

  it('leaves alone a layer whose outputs have nothing to do with those of the float model', async () => {
    const { model } = await build([quantizeStatic(true)])
    const broken = new Map(
      [...model.graph.initializers].map(([name, tensor]) =>
        name === 'w2/scale'
          ? [
              name,
              floatTensor(
                name,
                tensor.dims,
                asFloat32(tensor).map((scale) => scale * 50),
              ),
            ]
          : [name, tensor],
      ),
    )
    const found = await findBiasShifts({
      quantized: { ...model, graph: { ...model.graph, initializers: broken } },
      float: prepareForQuantization(network()),
      sampling: { samples: SAMPLES, source: samples, openSession, threads: 1, signal },
    })
    expect([...found.shifts.keys()].slice(0, 1)).toEqual(['a'])
    expect(found.shifts.has('c')).toBe(false)
    expect(found.notes.join()).toContain('their shift is larger than the outputs themselves: "c"')
  })

  it('takes no shift larger than the outputs', () => {
    expect(isPlausible(Float64Array.of(0.5, -1), 1)).toBe(true)
    expect(isPlausible(Float64Array.of(0.5, -1.1), 1)).toBe(false)
    expect(isPlausible(Float64Array.of(Number.NaN), 1)).toBe(false)
  })
})
