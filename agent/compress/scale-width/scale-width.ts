import { EdgefitError } from '@edgefit/shared'
import type { Pass } from '@edgefit/shared/model'
import type { Model } from '@edgefit/shared/onnx'
import type { Sampling } from '../calibration/run-samples.ts'
import type { PassResult } from '../pass-report.ts'
import { pruneChannels } from '../prune/prune-channels.ts'
import { simplify } from '../simplify.ts'
import { trainableWeights } from '../train/trainable.ts'
import { drawWeights } from './draw-weights.ts'
import { unitVarianceScales, withScales } from './unit-variance.ts'

type ScaleWidthPass = Extract<Pass, { pass: 'scale-width' }>

export interface WidthScaling {
  /** With the scales that samples gave: the same bytes anywhere. */
  readonly resolved: ScaleWidthPass
  readonly result: PassResult
}

/**
 * A narrower copy of `model`, as `pass` says. With random weights and scales that are not resolved, `sampling` is asked.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when no channel can be removed, or there are no weights to draw; MODEL_INVALID for
 * weights that are not finite; RECIPE_INVALID for scales of another model; what calibration throws.
 */
export async function scaleWidth(
  model: Model,
  pass: ScaleWidthPass,
  sampling: (samples: number) => Sampling,
  onProgress: (done: number, total: number) => void,
): Promise<WidthScaling> {
  const { weights } = pass
  if (weights.kind === 'largest') return { resolved: pass, result: narrowed(model, pass) }

  const narrow = pass.width === 1 ? { model: simplify(model), notes: [] } : narrowed(model, pass)
  const drawn = drawWeights(narrow.model, weights.seed)
  const scales = weights.scales ?? (await unitVarianceScales(drawn, sampling(weights.samples), onProgress))
  requireScalesOf(drawn, scales)
  return {
    resolved: { ...pass, weights: { ...weights, scales } },
    result: { model: withScales(drawn, scales), notes: [drawNote(drawn), ...narrow.notes] },
  }
}

function narrowed(model: Model, { width, alignTo }: ScaleWidthPass): PassResult {
  return pruneChannels(model, {
    pass: 'prune-channels',
    target: { by: 'ratio', ratio: 1 - width, scope: 'per-layer', alignTo },
    importance: 'l2',
    exclude: [],
  }).result
}

function drawNote(model: Model): string {
  return `drew ${trainableWeights(model, { kind: 'all' }).length} tensors of weights anew: the model knows nothing before it is trained`
}

function requireScalesOf(model: Model, scales: Readonly<Record<string, number>>): void {
  const unknown = Object.keys(scales).find((name) => !model.graph.initializers.has(name))
  if (unknown === undefined) return
  throw new EdgefitError(
    `weights.scales names "${unknown}", which is no weight of this model; leave "scales" out to have them measured`,
    { code: 'RECIPE_INVALID', details: { unknown } },
  )
}
