import type { Model } from '@edgefit/shared/onnx'
import { FULL_RANGE } from '../affine.ts'
import { type CalibrationProgress, collectRanges } from '../calibration/collect.ts'
import type { Sampling } from '../calibration/run-samples.ts'
import { cachedRanges } from './cached-ranges.ts'
import {
  type LayerPass,
  type LayerQuantizer,
  layerQuantizer,
  type RangesOf,
  type StaticPass,
} from './layer-quantizer.ts'

type Calibrating = Omit<Sampling, 'samples'> & { readonly onProgress?: (progress: CalibrationProgress) => void }

/** {@link layerQuantizer} with the ranges that the pass has, and calibrated ones where it has none. */
export function calibratedQuantizer(model: Model, pass: LayerPass, calibrating: Calibrating): LayerQuantizer {
  return layerQuantizer(model, pass, pass.pass === 'quantize-static' ? calibratedRanges(pass, calibrating) : NO_RANGES)
}

/** By the pass's own method and samples, so that a recipe has the same ranges however it came by them. */
export function calibratedRanges(pass: StaticPass, calibrating: Calibrating): RangesOf {
  return cachedRanges(pass.ranges ?? {}, (prepared, tensors) =>
    collectRanges({
      ...calibrating,
      samples: pass.calibration.samples,
      model: prepared,
      tensors,
      method: pass.calibration,
      integers: FULL_RANGE[pass.activations.type],
    }),
  )
}

const NO_RANGES: RangesOf = () => Promise.resolve(new Map())
