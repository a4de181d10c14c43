import { type Pass, Recipe } from '@edgefit/shared/model'
import { floatTensor, intsValue, type Model } from '@edgefit/shared/onnx'
import { describe, expect, it } from 'vitest'
import { type BuildProgress, buildVariant, type CalibrationSource } from '../../../../agent/compress/index.ts'
import { calibratedQuantizer } from '../../../../agent/compress/sensitivity/calibrated-quantizer.ts'
import { layerNoise } from '../../../../agent/compress/sensitivity/layer-noise.ts'
import { modelOf, op, randomTensor, randomValues } from '../support/graphs.ts'
import { float32, openSession, run } from '../support/runtime.ts'

const DIMS = [1, 4, 8, 8]
const PADS = { pads: intsValue([1, 1, 1, 1]) }

/** Three convolutions; the second reads one channel in thousandths and makes up for it: no scale suits all channels. */
function network(): Model {
  const weights = randomValues(4 * 4 * 9, 2).map((value, at) => value * (Math.floor(at / 9) % 4 === 0 ? 1000 : 1))
  return modelOf({
    inputs: { x: DIMS },
    outputs: ['y'],
    nodes: [
      op('Conv', 'x w1 -> a', PADS),
      op('Relu', 'a -> b'),
      op('Mul', 'b thousandth -> m'),
      op('Conv', 'm w2 -> c', PADS),
      op('Conv', 'c w3 -> d', PADS),
      op('Relu', 'd -> e'),
      op('GlobalAveragePool', 'e -> f'),
      op('Flatten', 'f -> g'),
      op('Gemm', 'g v -> y'),
    ],
    constants: [
      randomTensor('w1', [4, 4, 3, 3], 1),
      floatTensor('thousandth', [1, 4, 1, 1], Float32Array.of(0.001, 1, 1, 1)),
      floatTensor('w2', [4, 4, 3, 3], weights),
      randomTensor('w3', [4, 4, 3, 3], 3),
      randomTensor('v', [4, 3], 4),
    ],
  })
}

const samples: CalibrationSource = {
  count: 8,
  batch: ([index = 0]) => ({ x: float32(DIMS, randomValues(256, index + 1)) }),
}
const PER_TENSOR = {
  pass: 'quantize-static',
  activations: { type: 'uint8' },
  weights: { type: 'int8', perChannel: false, reducedRange: false },
  calibration: { method: 'percentile', percentile: 99.9, samples: 8 },
  exclude: [],
} as const satisfies Pass

const signal = new AbortController().signal
const sampling = { samples: 8, source: samples, openSession, threads: 1, signal }

function build(pass: Pass, onProgress?: (event: BuildProgress) => void) {
  return buildVariant({
    source: network(),
    recipe: {
      schemaVersion: 1,
      passes: [pass],
      runtime: { intraOpThreads: 1, allowSpinning: false, memoryArena: true },
    },
    calibration: samples,
    openSession,
    threads: 1,
    ...(onProgress && { onProgress }),
    signal,
  })
}

function noiseOf(pass: Parameters<typeof calibratedQuantizer>[1], given: Partial<typeof sampling> = {}) {
  const quantizer = calibratedQuantizer(network(), pass, { ...sampling, ...given })
  return layerNoise({ ...sampling, ...given, quantizer, classes: true })
}

describe('quantizing one layer at a time', () => {
  it('tells the layer that quantization ruins from the others', async () => {
    const noise = await noiseOf(PER_TENSOR)

    expect(noise.map(({ layer }) => layer)).toEqual(['Conv:a', 'Conv:c', 'Conv:d', 'Gemm:y'])
    const worst = noise.reduce((a, b) => (b.noiseRatio > a.noiseRatio ? b : a))
    expect(worst.layer).toBe('Conv:c')
    for (const other of noise.filter((layer) => layer !== worst)) {
      expect(other.sqnrDb).toBeGreaterThan(worst.sqnrDb + 6)
      expect(other.klDivergence).toBeLessThan(worst.klDivergence ?? 0)
    }
  })

  it('calibrates once, whatever the number of layers', async () => {
    let runs = 0
    const counting: CalibrationSource = {
      count: 8,
      batch(indices) {
        runs += 1
        return samples.batch(indices)
      },
    }
    await noiseOf({ ...PER_TENSOR, calibration: { method: 'minmax', samples: 8 } }, { source: counting })

    // Calibration, the float model, and each of the four layers alone.
    expect(runs).toBe(8 + 8 + 4 * 8)
  })

  it('does so for dynamic and weight-only quantization, whose layers are the products', async () => {
    const dynamic = await noiseOf({
      pass: 'quantize-dynamic',
      weights: { type: 'int8', perChannel: true, reducedRange: false },
      exclude: [],
    })
    const weights = await noiseOf({
      pass: 'quantize-weights',
      bits: 4,
      blockSize: 16,
      symmetric: true,
      form: 'matmulnbits',
      exclude: [],
    })

    expect(dynamic.map(({ layer }) => layer)).toEqual(['Gemm:y'])
    expect(weights.map(({ layer }) => layer)).toEqual(['Gemm:y'])
    expect(weights[0]?.sqnrDb).toBeLessThan(dynamic[0]?.sqnrDb ?? 0)
  })

  it('looks at no first convolution that the pass leaves in float of its own accord', async () => {
    const noise = await noiseOf({ ...PER_TENSOR, floatStem: true })
    const without = await noiseOf({ ...PER_TENSOR, exclude: ['Conv:a'] })
    expect(noise).toEqual(without)
  })

  it('looks at no layer that the recipe leaves in float anyway', async () => {
    const noise = await noiseOf({ ...PER_TENSOR, exclude: ['Conv:c'] })
    expect(noise.map(({ layer }) => layer)).toEqual(['Conv:a', 'Conv:d', 'Gemm:y'])
  })
})

describe('leaving layers in float', () => {
  const noisiest = { ...PER_TENSOR, leaveInFloat: { by: 'noise', layers: 1 } } as const satisfies Pass

  it('leaves the noisiest, and embeds its name and the ranges in the resolved recipe', async () => {
    const { resolved, model } = await build(noisiest)

    const [pass] = resolved.passes
    expect(pass).toMatchObject({ exclude: ['Conv:c'], ranges: { x: [expect.any(Number), expect.any(Number)] } })
    expect(pass).not.toHaveProperty('leaveInFloat')
    const conv = model.graph.nodes.find(({ name }) => name === 'Conv:c')
    expect(conv?.inputs[1]).toBe('w2')
  })

  it('gives the same bytes from the resolved recipe, from its names alone, and when asked again', async () => {
    const first = await build(noisiest)
    const [pass] = Recipe.parse(JSON.parse(JSON.stringify(first.resolved))).passes
    if (pass === undefined) throw new Error('no pass')

    expect((await build(pass)).bytes).toEqual(first.bytes)
    expect((await build({ ...PER_TENSOR, exclude: ['Conv:c'] })).bytes).toEqual(first.bytes)
    expect((await build(noisiest)).bytes).toEqual(first.bytes)
  })

  it('brings the outputs nearer to those of float', async () => {
    const feeds = await samples.batch([3])
    const expected = (await run(network(), feeds))['y']?.data as Float32Array
    const errorOf = async (pass: Pass) => {
      const given = (await run((await build(pass)).model, feeds))['y']?.data as Float32Array
      return expected.reduce((sum, value, at) => sum + (value - (given[at] ?? 0)) ** 2, 0)
    }
    expect(await errorOf(noisiest)).toBeLessThan((await errorOf(PER_TENSOR)) / 4)
  })

  it('leaves all that fall below a ratio', async () => {
    const noise = await noiseOf(PER_TENSOR)
    const sorted = noise.map(({ sqnrDb }) => sqnrDb).sort((a, b) => a - b)
    const belowDb = ((sorted[1] ?? 0) + (sorted[2] ?? 0)) / 2

    const { resolved } = await build({ ...PER_TENSOR, leaveInFloat: { by: 'sqnr', belowDb } })

    const [pass] = resolved.passes
    expect(pass?.pass === 'quantize-static' ? pass.exclude : []).toHaveLength(2)
    expect(
      (await build({ ...PER_TENSOR, leaveInFloat: { by: 'sqnr', belowDb: -100 } })).resolved.passes[0],
    ).toMatchObject({ exclude: [] })
  })

  it('keeps the names that the recipe gives itself', async () => {
    const { resolved } = await build({ ...noisiest, exclude: ['Conv:a'] })
    expect(resolved.passes[0]).toMatchObject({ exclude: ['Conv:a', 'Conv:c'] })
  })

  it('tells how far it is, without ever going back', async () => {
    const events: BuildProgress[] = []
    await build(noisiest, (event) => events.push(event))
    const done = events.flatMap(({ calibration }) => (calibration ? [calibration.done / calibration.total] : []))
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(done.at(-1)).toBe(1)
  })

  it.each<[string, Pass, RegExp]>([
    [
      'all layers',
      { ...PER_TENSOR, leaveInFloat: { by: 'noise', layers: 4 } },
      /leaveInFloat: layers 4 leaves none of the 4 layers/,
    ],
    ['all below a ratio', { ...PER_TENSOR, leaveInFloat: { by: 'sqnr', belowDb: 300 } }, /belowDb 300 leaves none/],
    ['a recipe that is resolved', { ...noisiest, ranges: { x: [0, 1] } }, /both "ranges".*and "leaveInFloat"/],
  ])('refuses to leave %s', async (_what, pass, message) => {
    await expect(build(pass)).rejects.toMatchObject({ code: 'RECIPE_INVALID', message: expect.stringMatching(message) })
  })

  it('refuses more samples than there are', async () => {
    const greedy: Pass = { ...PER_TENSOR, leaveInFloat: { by: 'noise', layers: 1, samples: 9 } }
    await expect(build(greedy)).rejects.toMatchObject({ code: 'DATASET_INVALID' })
  })
})
