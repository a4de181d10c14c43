import * as z from 'zod'
import { orderFaults } from './pass-contracts.ts'
import { Digest } from './primitives.ts'
import { needsLabels, Training } from './training.ts'

/** Options of one onnxruntime session. Keys the runtime would ignore silently are not offered. */
export const RuntimeSettings = z.strictObject({
  intraOpThreads: z.int().min(1).max(256),
  /** Threads spin between runs: a little faster under steady load, a core burnt otherwise. */
  allowSpinning: z.boolean().default(false),
  memoryArena: z.boolean().default(true),
})
export type RuntimeSettings = z.infer<typeof RuntimeSettings>

const QuantizedType = z.enum(['int8', 'uint8'])

/** The passes behind this one work on another model, which is to replace the source. The source teaches where they distil. */
const TakeStudent = z.strictObject({
  pass: z.literal('take-student'),
  /** SHA-256 of the student's file, which is handed over beside the recipe. */
  digest: Digest,
})

/** What can be computed before the model runs becomes a constant. */
const FoldConstants = z.strictObject({ pass: z.literal('fold-constants') })

/** Identity, and what does nothing for the shapes at hand: Cast, Reshape, Transpose, Pad, Slice, Concat of one. */
const RemoveIdentities = z.strictObject({ pass: z.literal('remove-identities') })

const RemoveDropout = z.strictObject({ pass: z.literal('remove-dropout') })

/** The branch that an If never takes, nodes that nothing needs, weights that nothing reads. */
const RemoveDeadBranches = z.strictObject({ pass: z.literal('remove-dead-branches') })

const LiftOpset = z.strictObject({
  pass: z.literal('lift-opset'),
  /** A model that is of this version, or newer, stays as it is. */
  version: z.int().min(13).max(21).default(21),
})

const FoldBatchNorm = z.strictObject({ pass: z.literal('fold-batch-norm') })

/** What is normalized has other means and variances once channels are gone or weights have changed: these are taken anew. */
const EstimateBatchNorm = z.strictObject({
  pass: z.literal('estimate-batch-norm'),
  samples: z.int().min(1),
  /** By the value that a BatchNormalization makes, per channel. Present in a resolved recipe. */
  statistics: z
    .record(z.string(), z.strictObject({ mean: z.array(z.number()), variance: z.array(z.number().min(0)) }))
    .optional(),
})

const Equalize = z.strictObject({
  pass: z.literal('equalize'),
  /** `replace` turns the Clips between layers, which equalization cannot cross, into Relus: values above their bound then change. */
  clips: z.enum(['keep', 'replace']).default('keep'),
})

/** Per-channel numbers by value name. */
const ChannelNumbers = z.record(z.string(), z.array(z.number()))

const SmoothQuant = z.strictObject({
  pass: z.literal('smooth-quant'),
  /** 0 leaves the activations as they are, 1 moves all of their differences into the weights. */
  alpha: z.number().min(0).max(1).default(0.5),
  samples: z.int().min(1),
  /** Largest magnitudes of each channel. Present in a resolved recipe. */
  maxima: ChannelNumbers.optional(),
})

const CorrectBias = z.strictObject({
  pass: z.literal('correct-bias'),
  samples: z.int().min(1),
  /** What is added to the outputs of the layers. Present in a resolved recipe. */
  shifts: ChannelNumbers.optional(),
})

const QuantizeDynamic = z.strictObject({
  pass: z.literal('quantize-dynamic'),
  weights: z.strictObject({
    type: QuantizedType.default('int8'),
    perChannel: z.boolean().default(true),
    /** 7-bit weights: for x64 CPUs whose int8 multiply-add saturates (no VNNI). */
    reducedRange: z.boolean().default(false),
  }),
  /** Names of nodes to leave in float. */
  exclude: z.array(z.string()).default([]),
})

/** Calibrated ranges per tensor: what makes a static recipe resolved. */
const TensorRanges = z.record(z.string(), z.tuple([z.number(), z.number()]))

/** Which way weights are rounded; absent: to the nearest step. */
const Rounding = {
  /**
   * Up or down so that each layer, fed by the model quantized so far, gives what it gives in float (AdaRound, arXiv
   * 2004.10568). Half a minute of one core for 300,000 weights.
   */
  rounding: z
    .strictObject({
      method: z.literal('adaptive'),
      samples: z.int().min(1),
      /** Steps for each layer; fewer where it has so many weights that they would take minutes. */
      iterations: z.int().min(1).max(100_000).default(300),
      seed: z.int().min(0).default(0),
    })
    .optional(),
  /**
   * By weight tensor a bit for each weight, set where it is rounded up; base64. Present in a resolved recipe: the bytes
   * are then the same anywhere.
   */
  roundings: z.record(z.string(), z.base64()).optional(),
}

/** Which layers stay in float, by what each does to the outputs when it alone is quantized. */
const LeaveInFloat = z.discriminatedUnion('by', [
  /** As many as `layers`, the noisiest. */
  z.strictObject({ by: z.literal('noise'), layers: z.int().min(1), samples: z.int().min(1).optional() }),
  /** All that alone push the signal-to-noise ratio of the outputs below this. */
  z.strictObject({ by: z.literal('sqnr'), belowDb: z.number(), samples: z.int().min(1).optional() }),
])

const QuantizeStatic = z.strictObject({
  pass: z.literal('quantize-static'),
  activations: z.strictObject({ type: QuantizedType }),
  weights: z.strictObject({
    /** `uint8`, with uint8 activations: for kernels that want both unsigned; slower on CPUs with dot products. */
    type: QuantizedType.default('int8'),
    perChannel: z.boolean().default(true),
    reducedRange: z.boolean().default(false),
  }),
  calibration: z.discriminatedUnion('method', [
    z.strictObject({ method: z.literal('minmax'), samples: z.int().min(1) }),
    z.strictObject({
      method: z.literal('moving-average'),
      /** How far every sample moves the range towards its own. */
      constant: z.number().gt(0).max(1).default(0.01),
      samples: z.int().min(1),
    }),
    z.strictObject({ method: z.literal('percentile'), percentile: z.number().gt(50).lt(100), samples: z.int().min(1) }),
    z.strictObject({ method: z.literal('entropy'), samples: z.int().min(1) }),
    z.strictObject({ method: z.literal('mse'), samples: z.int().min(1) }),
  ]),
  exclude: z.array(z.string()).default([]),
  /**
   * Leave the first convolution in float where it has few inputs an output. On x64 its integer kernel is no faster, and
   * the model's input needs no quantizing.
   */
  floatStem: z.boolean().optional(),
  /** Layers to leave in float besides. In a resolved recipe their names are in `exclude`, and this is gone. */
  leaveInFloat: LeaveInFloat.optional(),
  /** Present in a resolved recipe: calibration is then skipped and the bytes are the same anywhere. */
  ranges: TensorRanges.optional(),
  ...Rounding,
})

/** How a target in time is approached. */
const LatencySteps = {
  /** More steps lose less accuracy and take longer. */
  steps: z.int().min(1).max(100).default(10),
  /** What is lost is judged by the outputs of as many. */
  samples: z.int().min(1).default(64),
}

/** What is left of a layer is rounded up: to as many as the box computes as fast, or to a multiple of a number. */
const AlignTo = z.union([z.literal('measured'), z.int().min(1)]).default('measured')

/** How much of a model's channels goes. All but `ratio` and `importance` are about the latency predicted from operators measured on the box. */
const PruningTarget = z.discriminatedUnion('by', [
  z.strictObject({
    by: z.literal('ratio'),
    /** Share of the channels to remove: one for all layers, or by the value a layer makes (others stay whole). */
    ratio: z.union([z.number().min(0).lt(1), z.record(z.string(), z.number().min(0).lt(1))]),
    /** `global`: the least important channels of all layers together. A ratio by value is per layer. */
    scope: z.enum(['global', 'per-layer']).default('per-layer'),
    alignTo: AlignTo,
  }),
  /**
   * Channels whose importance is below this share of the largest of those they go with: what pressure in training has
   * made small. The largest, because a mean falls with every channel that dies.
   */
  z.strictObject({ by: z.literal('importance'), below: z.number().gt(0).lt(1), alignTo: AlignTo }),
  z.strictObject({ by: z.literal('latency'), latencyMs: z.number().positive(), ...LatencySteps }),
  z.strictObject({ by: z.literal('saved-time'), savedMs: z.number().positive(), ...LatencySteps }),
  z.strictObject({ by: z.literal('saved-share'), savedShare: z.number().gt(0).lt(1), ...LatencySteps }),
])

/** Whole channels go, and with them what other layers read of them. */
const PruneChannels = z
  .strictObject({
    pass: z.literal('prune-channels'),
    target: PruningTarget,
    /**
     * What says how much a channel matters: its weights, or with `taylor` what they do to the loss, by gradients (Molchanov et
     * al., arXiv 1906.10771). `filter-l2` looks at what makes the channel alone, which is what `group-lasso` presses on.
     */
    importance: z
      .enum(['l1', 'l2', 'filter-l2', 'batch-norm-gamma', 'geometric-median', 'lamp', 'taylor'])
      .default('l2'),
    /** Samples that `taylor` takes gradients of. Absent: 512, or all where there are fewer. */
    gradientSamples: z.int().min(1).optional(),
    /** Names of nodes whose channels stay. */
    exclude: z.array(z.string()).default([]),
    /** Channels that stay, by value. Present in a resolved recipe, and then all that counts. */
    keep: z.record(z.string(), z.array(z.int().min(0)).min(1)).optional(),
  })
  .check(({ value, issues }) => {
    if (value.gradientSamples === undefined || value.importance === 'taylor') return
    const message = `only importance "taylor" takes gradients; leave "gradientSamples" out for "${value.importance}"`
    issues.push({ code: 'custom', input: value.gradientSamples, path: ['gradientSamples'], message })
  })

/**
 * A narrower copy of the model: every layer that can keeps `width` of its channels. With the largest weights that is
 * pruning every layer alike; with random ones it is the architecture alone, to be trained from scratch.
 */
const ScaleWidth = z.strictObject({
  pass: z.literal('scale-width'),
  /** 1 leaves the layers as wide as they are. */
  width: z.number().gt(0).max(1),
  /** What is left of a layer is rounded up to a multiple. */
  alignTo: z.int().min(1).default(8),
  weights: z.discriminatedUnion('kind', [
    /** Those of the channels with the largest norms (`l2` of `prune-channels`). */
    z.strictObject({ kind: z.literal('largest') }),
    /**
     * Drawn anew (He et al., arXiv 1502.01852), and scaled layer by layer so that what a layer gives has unit variance over
     * the first `samples` of calibration (Mishkin and Matas, arXiv 1511.06422).
     */
    z.strictObject({
      kind: z.literal('random'),
      seed: z.int().min(0).default(0),
      samples: z.int().min(1).default(32),
      /** Factors by weight. Present in a resolved recipe. */
      scales: z.record(z.string(), z.number().positive()).optional(),
    }),
  ]),
})

/** Single weights become zero: fewer bytes to send once packed, and no time. */
const PruneWeights = z.strictObject({
  pass: z.literal('prune-weights'),
  target: z.discriminatedUnion('by', [
    /** Share of the weights, of each layer or of all together. */
    z.strictObject({
      by: z.literal('sparsity'),
      sparsity: z.number().min(0).lt(1),
      scope: z.enum(['global', 'per-layer']).default('per-layer'),
    }),
    /** All weights whose magnitude is below. */
    z.strictObject({ by: z.literal('magnitude'), threshold: z.number().positive() }),
  ]),
  exclude: z.array(z.string()).default([]),
})

/** Weights of matrix products in few bits, activations in float. */
const QuantizeWeights = z.strictObject({
  pass: z.literal('quantize-weights'),
  bits: z.union([z.literal(4), z.literal(8)]),
  /** Weights that share a scale, along the inputs of one output. */
  blockSize: z.literal([16, 32, 64, 128, 256]).default(32),
  /** Without zero points: a little smaller, a little coarser. */
  symmetric: z.boolean().default(true),
  /** `matmulnbits`: the operator of onnxruntime. `dequantize`: the standard's own, which lifts the model to opset 21. */
  form: z.enum(['matmulnbits', 'dequantize']).default('matmulnbits'),
  exclude: z.array(z.string()).default([]),
  ...Rounding,
})

const ToFloat16 = z.strictObject({
  pass: z.literal('to-float16'),
  /** What is computed in: with `float32` only the weights are stored as float16, which costs no time. */
  compute: z.enum(['float32', 'float16']).default('float32'),
  /** Names of nodes to leave as they are. */
  keep: z.array(z.string()).default([]),
})

/** Trains weights on the box. Never resolved: on another class of hardware the last bits differ. */
const FineTune = z.strictObject({ pass: z.literal('fine-tune'), ...Training.shape })

/** `from-weights`: the largest magnitude takes the largest integer. `learned`: a learned step size (arXiv 1902.08153). */
const WeightScales = z.enum(['from-weights', 'learned']).default('from-weights')

/** `quantize-static` with weights that are trained for it. */
const QuantizeAware = z.strictObject({
  ...QuantizeStatic.omit({ leaveInFloat: true, rounding: true, roundings: true }).shape,
  pass: z.literal('quantize-aware'),
  weightScales: WeightScales,
  /** As calibrated, or learned from there: scale and zero point. */
  activationRanges: z.enum(['frozen', 'learned']).default('frozen'),
  training: Training,
})

/** `quantize-weights` with weights that are trained for it. */
const QuantizeWeightsAware = z.strictObject({
  ...QuantizeWeights.omit({ rounding: true, roundings: true }).shape,
  pass: z.literal('quantize-weights-aware'),
  weightScales: WeightScales,
  training: Training,
})

export const Pass = z.discriminatedUnion('pass', [
  TakeStudent,
  FoldConstants,
  RemoveIdentities,
  RemoveDropout,
  RemoveDeadBranches,
  LiftOpset,
  FoldBatchNorm,
  EstimateBatchNorm,
  Equalize,
  SmoothQuant,
  QuantizeDynamic,
  QuantizeStatic,
  QuantizeWeights,
  ToFloat16,
  CorrectBias,
  PruneChannels,
  ScaleWidth,
  PruneWeights,
  FineTune,
  QuantizeAware,
  QuantizeWeightsAware,
])
export type Pass = z.infer<typeof Pass>

/** How a pass trains; undefined where it does not. */
export function trainingOf(pass: Pass): Training | undefined {
  if (pass.pass === 'fine-tune') return pass
  return 'training' in pass ? pass.training : undefined
}

/** Whether any of the passes trains, and so wants samples for it. */
export function trainsWeights(passes: readonly Pass[]): boolean {
  return passes.some((pass) => trainingOf(pass) !== undefined)
}

/** Whether any of the passes looks at gradients, and so wants samples and to know what outputs mean. */
export function needsGradients(passes: readonly Pass[]): boolean {
  return passes.some((one) => one.pass === 'prune-channels' && one.importance === 'taylor' && one.keep === undefined)
}

/** A list of passes and the runtime settings: turns a source model into a variant. */
export const Recipe = z.strictObject({
  schemaVersion: z.literal(1).default(1),
  /** For people: "static int8, percentile 99.99". Not part of the recipe's identity. */
  label: z.string().max(120).optional(),
  passes: z.array(Pass).check(({ value, issues }) => {
    for (const { index, message } of orderFaults(value)) {
      issues.push({ code: 'custom', input: value[index], path: [index], message })
    }
    for (const [index, pass] of value.entries()) {
      const training = trainingOf(pass)
      if (training?.augmentation?.mixup === undefined || !needsLabels(training)) continue
      const message = `pass ${index + 1}, ${pass.pass}: "mixup" makes samples that have no label; distil with "mixing" 1, which needs none`
      issues.push({ code: 'custom', input: pass, path: [index], message })
    }
  }),
  runtime: RuntimeSettings,
})
export type Recipe = z.infer<typeof Recipe>
