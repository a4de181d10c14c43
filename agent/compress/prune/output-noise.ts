import { EdgefitError } from '@edgefit/shared'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import { addSqnr, EMPTY_SQNR, type SqnrSums } from '@edgefit/shared/stats'
import type { Sampling } from '../calibration/run-samples.ts'
import type { OutputTensor } from '../runtime-port.ts'

/** Judges models by how far their outputs are from those of the original: no labels are needed. */
export interface OutputJudge {
  /**
   * Energy of the difference over that of the original's outputs, over all samples, of the output that fares worst: 0
   * where nothing differs, Infinity where the outputs cannot be compared. Its inverse is the signal-to-noise ratio.
   *
   * @throws what `openSession` and `run` throw; the signal's reason.
   */
  noiseOf(model: Model): Promise<number>
}

/** Runs `original` once on all samples and keeps what it says of them. */
export async function outputJudge(original: Model, sampling: Sampling): Promise<OutputJudge> {
  const references: ReadonlyMap<string, ArrayLike<number>>[] = []
  await runAll(original, sampling, (outputs) => references.push(numbersOf(outputs)))
  return {
    async noiseOf(model) {
      const sums = new Map<string, SqnrSums>()
      let comparable = true
      await runAll(model, sampling, (outputs, sample) => {
        const given = numbersOf(outputs)
        for (const [name, expected] of references[sample] ?? []) {
          const actual = given.get(name)
          if (actual?.length !== expected.length) comparable = false
          else sums.set(name, addSqnr(sums.get(name) ?? EMPTY_SQNR, expected, actual))
        }
      })
      const noises = [...sums.values()].map(({ signal, noise }) => (noise === 0 ? 0 : noise / signal))
      const worst = Math.max(0, ...noises)
      return comparable && !Number.isNaN(worst) ? worst : Number.POSITIVE_INFINITY
    },
  }
}

async function runAll(
  model: Model,
  { openSession, threads, samples, source, signal }: Sampling,
  see: (outputs: Readonly<Record<string, OutputTensor>>, sample: number) => void,
): Promise<void> {
  const session = await openSession(encodeModel(model), { graphOptimization: 'all', threads })
  try {
    for (let sample = 0; sample < samples; sample++) {
      signal.throwIfAborted()
      see(await session.run(await source.batch([sample])), sample)
    }
  } finally {
    await session.release()
  }
}

function numbersOf(outputs: Readonly<Record<string, OutputTensor>>): ReadonlyMap<string, ArrayLike<number>> {
  return new Map(
    Object.entries(outputs).map(([name, { type, data }]) => {
      if (type === 'float16') {
        throw new EdgefitError(`output "${name}" is float16, which cannot be judged; prune before halving`, {
          code: 'MODEL_UNSUPPORTED',
          details: { output: name },
        })
      }
      return [name, data instanceof Float32Array ? data : Float64Array.from(data, Number)]
    }),
  )
}
