import type { Pass } from '@edgefit/shared/model'
import { editGraph, floatTensor, type Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import { notesByReason, type PassResult } from '../pass-report.ts'
import { numbersFor, refuseForeignNumbers } from '../repair/channel-numbers.ts'
import { collectMoments, type Moments } from './collect-moments.ts'
import { findNormalizations, type Normalization } from './normalizations.ts'

export type EstimateBatchNormPass = Extract<Pass, { pass: 'estimate-batch-norm' }>
type Statistics = NonNullable<EstimateBatchNormPass['statistics']>

/**
 * Gives every BatchNormalization the mean and variance of what it normalizes now: after pruning, or other changes of weights, the
 * running ones of training speak of values that are no longer there. From the inputs on, each behind those that already have
 * theirs; those side by side together. A channel that does not vary in the samples keeps its own, since its factor would be
 * boundless. Uses the statistics of the recipe where there are some; `sampling` is only asked for without.
 *
 * @throws EdgefitError RECIPE_INVALID for statistics of another model; as {@link collectMoments}.
 */
export async function estimateBatchNorm(
  model: Model,
  pass: EstimateBatchNormPass,
  sampling: () => Sampling,
  onProgress: (done: number, total: number) => void,
): Promise<{ readonly resolved: EstimateBatchNormPass; readonly result: PassResult }> {
  const { found, left } = findNormalizations(model)
  const notes = notesByReason(left)
  if (pass.statistics !== undefined) {
    const outputs = found.map(({ output }) => output)
    refuseForeignNumbers(new Map(Object.keys(pass.statistics).map((name) => [name, []])), outputs, 'statistics')
  }
  if (found.length === 0) {
    const nothing =
      'nothing to estimate: the model has no BatchNormalization, or it is folded into the layers before it'
    return { resolved: { ...pass, statistics: {} }, result: { model, notes: [...notes, nothing] } }
  }
  if (pass.statistics !== undefined) {
    return { resolved: pass, result: { model: withStatistics(model, found, pass.statistics), notes } }
  }
  const given = sampling()
  const depths = [...new Set(found.map(({ depth }) => depth))].sort((a, b) => a - b)
  const statistics: Statistics = {}
  let still = 0
  let estimated = model
  for (const [at, depth] of depths.entries()) {
    const level = found.filter((one) => one.depth === depth)
    const observed = level.map(({ input, channels }) => ({ value: input, channels }))
    const moments = await collectMoments(estimated, observed, given, (done) =>
      onProgress(at * pass.samples + done, depths.length * pass.samples),
    )
    for (const [index, own] of moments.entries()) {
      const one = level[index]
      if (one === undefined) continue
      const { numbers, kept } = ofVarying(one, own)
      statistics[one.output] = numbers
      still += kept
    }
    estimated = withStatistics(estimated, level, statistics)
  }
  return {
    resolved: { ...pass, statistics },
    result: {
      model: estimated,
      notes: [
        ...notes,
        `statistics of ${found.length} BatchNormalization nodes estimated from ${pass.samples} samples`,
        ...(still === 0 ? [] : [`${still} channels do not vary in these samples and keep their statistics`]),
      ],
    },
  }
}

/** Times its former variance: what is below is noise about a constant. */
const LEAST_VARIANCE_SHARE = 1e-6

function ofVarying(former: Normalization, { mean, variance }: Moments) {
  const varies = [...variance].map((now, channel) => now > LEAST_VARIANCE_SHARE * (former.variance[channel] ?? 0))
  const chosen = (now: Float64Array, before: Float32Array): number[] =>
    varies.map((does, channel) => (does ? now[channel] : before[channel]) ?? 0)
  return {
    numbers: { mean: chosen(mean, former.mean), variance: chosen(variance, former.variance) },
    kept: varies.filter((does) => !does).length,
  }
}

function withStatistics(model: Model, normalizations: readonly Normalization[], statistics: Statistics): Model {
  const editor = editGraph(model.graph)
  const given = (kind: 'mean' | 'variance'): ReadonlyMap<string, readonly number[]> =>
    new Map(Object.entries(statistics).map(([output, numbers]) => [output, numbers[kind]]))
  const kinds = Object.entries({ mean: given('mean'), variance: given('variance') })
  for (const { node, output, channels } of normalizations) {
    const names = kinds.map(([kind, numbers]) => {
      const name = editor.freshName(`${output}/${kind}`)
      const values = Float32Array.from(numbersFor(numbers, output, channels, 'statistics'))
      editor.setInitializer(floatTensor(name, [channels], values))
      return name
    })
    editor.replace(node, { ...node, inputs: [...node.inputs.slice(0, 3), ...names] })
  }
  editor.prune()
  return { ...model, graph: editor.build() }
}
