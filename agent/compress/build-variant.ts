import { EdgefitError } from '@edgefit/shared'
import { orderFaults, type Pass, type Recipe, trainingOf } from '@edgefit/shared/model'
import { encodeModel, type Model } from '@edgefit/shared/onnx'
import type { CalibrationProgress } from './calibration/collect.ts'
import type { CalibrationSource, Sampling } from './calibration/run-samples.ts'
import { estimateBatchNorm } from './estimate-batch-norm/estimate-batch-norm.ts'
import { foldBatchNorm } from './fold-batch-norm.ts'
import { foldConstants } from './fold-constants.ts'
import type { LatencyPredictor } from './latency/latency-predictor.ts'
import { liftOpset } from './lift-opset/lift-opset.ts'
import { type PassReport, type PassResult, passReport } from './pass-report.ts'
import { pruneByMeasurement } from './prune/prune-by-measurement.ts'
import { pruneWeights } from './prune/prune-weights.ts'
import type { GradientSource } from './prune/taylor-importance.ts'
import { quantizeDynamic } from './quantize-dynamic.ts'
import { applyStatic } from './quantize-static/apply-static.ts'
import { removeDeadBranches } from './remove-dead-branches.ts'
import { removeDropout } from './remove-dropout.ts'
import { removeIdentities } from './remove-identities.ts'
import { applyCorrectBias, applySmoothQuant } from './repair/apply-repair.ts'
import { equalize } from './repair/equalize.ts'
import type { OpenSession } from './runtime-port.ts'
import { scaleWidth } from './scale-width/scale-width.ts'
import { type Student, takeStudent } from './take-student.ts'
import { toFloat16 } from './to-float16/to-float16.ts'
import { applyQuantizeAware, applyQuantizeWeightsAware } from './train/apply-quantize-aware.ts'
import { applyFineTune, type TrainingContext, type TrainingPort } from './train/apply-training.ts'
import { requireAugmentable } from './train/augmentation-fit.ts'
import { requireOneBatch } from './train/batches.ts'
import type { TrainingProgress } from './train/progress.ts'
import { withBatch } from './train/step/batch-size.ts'
import { requireHintValues } from './train/teacher-fit.ts'
import { requireLabels } from './train/training-data.ts'
import { applyWeightsOnly } from './weight-only/apply-weight-only.ts'

export interface BuildInput {
  readonly source: Model
  /** Wanted by recipes that take a student. */
  readonly student?: Student
  readonly recipe: Recipe
  readonly calibration: CalibrationSource
  readonly openSession: OpenSession
  /** Needed by passes that ask for measured latency, where their recipe is not resolved. */
  readonly predictor?: LatencyPredictor
  /** Needed by passes that look at gradients, where their recipe is not resolved. */
  readonly gradients?: GradientSource
  /** Needed by passes that train. */
  readonly training?: TrainingPort
  /** Threads for calibration and training. */
  readonly threads: number
  readonly onProgress?: (event: BuildProgress) => void
  /** Called with the model as each pass leaves it; the next pass waits for the answer. */
  readonly onPass?: (model: Model, index: number) => Promise<void> | void
  readonly signal: AbortSignal
}

/** Reported as a pass begins (without `calibration`) and while it calibrates. */
export interface BuildProgress {
  readonly pass: Pass['pass']
  /** Position in the recipe. */
  readonly index: number
  readonly count: number
  readonly calibration?: CalibrationProgress
  readonly training?: TrainingProgress
}

export interface BuiltVariant {
  readonly model: Model
  /** `model` as a file. */
  readonly bytes: Uint8Array
  /** The recipe with everything that calibration found: gives the same bytes anywhere, without calibration. */
  readonly resolved: Recipe
  readonly reports: readonly PassReport[]
}

/**
 * Applies the recipe's passes in order. The same source, recipe and calibration samples give the same bytes, on one class
 * of hardware; a resolved recipe gives them anywhere.
 *
 * @throws EdgefitError, whose message names the pass: RECIPE_INVALID for an order that makes no sense, MODEL_UNSUPPORTED, MODEL_INVALID and RECIPE_INVALID as the pass
 * says, what the runtime port throws while calibrating, otherwise PASS_FAILED with the cause. The signal's reason when
 * aborted.
 */
export async function buildVariant(input: BuildInput): Promise<BuiltVariant> {
  const [fault] = orderFaults(input.recipe.passes)
  if (fault !== undefined) {
    throw new EdgefitError(fault.message, { code: 'RECIPE_INVALID', details: { index: fault.index } })
  }
  refuseUntrainable(input)
  let model = input.source
  let unquantized: Model | undefined
  const passes: Pass[] = []
  const reports: PassReport[] = []
  const { passes: steps } = input.recipe
  for (const [index, pass] of steps.entries()) {
    input.signal.throwIfAborted()
    const progress = { pass: pass.pass, index, count: steps.length }
    input.onProgress?.(progress)
    try {
      const onCalibration = (calibration: CalibrationProgress): void => input.onProgress?.({ ...progress, calibration })
      const { resolved, result } = await applyPass({ model, unquantized: unquantized ?? model }, pass, input, {
        onProgress: onCalibration,
        onTraining: (training) => input.onProgress?.({ ...progress, training }),
      })
      reports.push(passReport(pass.pass, model, result))
      passes.push(resolved)
      if (pass.pass === 'quantize-static') unquantized = model
      model = result.model
    } catch (cause) {
      input.signal.throwIfAborted()
      throw explained(pass.pass, index, cause)
    }
    await input.onPass?.(model, index)
  }
  return { model, bytes: encodeModel(model), resolved: { ...input.recipe, passes }, reports }
}

/** What can be told before other passes take their time. */
function refuseUntrainable({ source, recipe, student, training: port }: BuildInput): void {
  for (const [index, pass] of recipe.passes.entries()) {
    const training = trainingOf(pass)
    if (training === undefined) continue
    try {
      if (student === undefined) withBatch(source, training.batch)
      requireHintValues(training, source)
      if (training.augmentation) requireAugmentable(training.augmentation, source)
      if (port === undefined) continue
      requireLabels(training.loss, port.data)
      requireOneBatch(port.data.count, training.batch)
    } catch (cause) {
      throw explained(pass.pass, index, cause)
    }
  }
}

interface Applied {
  readonly resolved: Pass
  readonly result: PassResult
}

interface Listeners {
  readonly onProgress: (progress: CalibrationProgress) => void
  readonly onTraining: (progress: TrainingProgress) => void
}

function applyPass(
  { model, unquantized }: { readonly model: Model; readonly unquantized: Model },
  pass: Pass,
  input: BuildInput,
  { onProgress, onTraining }: Listeners,
): Applied | Promise<Applied> {
  const sampling = (samples: number) => () => samplingOf(input, samples)
  const onChannels = (done: number, total: number): void => onProgress({ stage: 'channels', done, total })
  switch (pass.pass) {
    case 'take-student':
      return { resolved: pass, result: takeStudent(input.source, pass, input.student) }
    case 'equalize':
      return { resolved: pass, result: equalize(model, pass) }
    case 'smooth-quant':
      return applySmoothQuant(model, pass, sampling(pass.samples), onChannels)
    case 'correct-bias':
      return applyCorrectBias(model, unquantized, pass, sampling(pass.samples), onChannels)
    case 'fold-constants':
      return { resolved: pass, result: foldConstants(model) }
    case 'remove-identities':
      return { resolved: pass, result: removeIdentities(model) }
    case 'remove-dropout':
      return { resolved: pass, result: removeDropout(model) }
    case 'remove-dead-branches':
      return { resolved: pass, result: removeDeadBranches(model) }
    case 'lift-opset':
      return { resolved: pass, result: { model: liftOpset(model, pass.version), notes: [] } }
    case 'fold-batch-norm':
      return { resolved: pass, result: foldBatchNorm(model) }
    case 'estimate-batch-norm':
      return estimateBatchNorm(model, pass, sampling(pass.samples), onChannels)
    case 'quantize-dynamic':
      return { resolved: pass, result: quantizeDynamic(model, { ...pass.weights, exclude: pass.exclude }) }
    case 'prune-channels':
      return pruneByMeasurement(model, pass, {
        predictor: input.predictor,
        gradients: input.gradients,
        sampling: (samples) => samplingOf(input, samples),
        onProgress,
      })
    case 'scale-width':
      return scaleWidth(model, pass, (samples) => samplingOf(input, samples), onChannels)
    case 'prune-weights':
      return { resolved: pass, result: pruneWeights(model, pass) }
    case 'quantize-weights':
      return applyWeightsOnly(model, pass, (samples) => samplingOf(input, samples), onProgress)
    case 'to-float16':
      return { resolved: pass, result: toFloat16(model, pass) }
    case 'fine-tune':
      return applyFineTune(model, pass, trainingContext(input, onTraining)).then((result) => ({
        resolved: pass,
        result,
      }))
    case 'quantize-aware':
      return applyQuantizeAware(
        model,
        pass,
        trainingContext(input, onTraining),
        (samples) => samplingOf(input, samples),
        onProgress,
      )
    case 'quantize-weights-aware':
      return applyQuantizeWeightsAware(model, pass, trainingContext(input, onTraining)).then((result) => ({
        resolved: pass,
        result,
      }))
    case 'quantize-static':
      return applyStatic(model, pass, (samples) => samplingOf(input, samples), onProgress)
  }
}

function trainingContext(
  { training, source, openSession, threads, signal }: BuildInput,
  onProgress: (progress: TrainingProgress) => void,
): TrainingContext {
  return { port: training, teacher: source, openSession, threads, onProgress, signal }
}

/** @throws EdgefitError DATASET_INVALID when there are fewer samples than the pass wants. */
function samplingOf({ calibration, openSession, threads, signal }: BuildInput, samples: number): Sampling {
  if (samples > calibration.count) {
    throw new EdgefitError(
      `calibration wants ${samples} samples and the dataset's calibration split has ${calibration.count}; lower "samples" or enlarge the split`,
      { code: 'DATASET_INVALID', details: { samples, available: calibration.count } },
    )
  }
  return { samples, source: calibration, openSession, threads, signal }
}

function explained(pass: string, index: number, cause: unknown): EdgefitError {
  const known = cause instanceof EdgefitError ? cause : undefined
  const message = cause instanceof Error ? cause.message : String(cause)
  return new EdgefitError(`pass ${index + 1}, ${pass}: ${message}`, {
    code: known?.code ?? 'PASS_FAILED',
    details: { ...known?.details, pass, index },
    cause,
  })
}
