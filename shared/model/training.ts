import * as z from 'zod'

/** Which weights change. What lies before the first of them costs neither time nor memory. */
const Trainable = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('all') }),
  z.strictObject({ kind: z.literal('last-layers'), layers: z.int().min(1) }),
  /** Biases, and scales and shifts of normalizations. */
  z.strictObject({ kind: z.literal('biases-and-norms') }),
])

const labelSmoothing = z.number().min(0).lt(1).default(0)

/** What training makes small. All are means over the batch. */
const Loss = z.discriminatedUnion('kind', [
  /** Against one class number a sample. `labelSmoothing` spreads that share of the target over all classes. */
  z.strictObject({ kind: z.literal('cross-entropy'), labelSmoothing }),
  /** Of one score a sample, before any Sigmoid, against 0 or 1. */
  z.strictObject({ kind: z.literal('binary-cross-entropy') }),
  /** Against as many numbers a sample as the model gives. */
  z.strictObject({ kind: z.literal('mean-squared-error') }),
  /**
   * (1 - mixing) cross-entropy + mixing T² KL(source model ‖ trained one), both softened by the temperature T (Hinton,
   * Vinyals and Dean, arXiv 1503.02531). With `mixing` 1 no labels are needed.
   */
  z.strictObject({
    kind: z.literal('distillation'),
    temperature: z.number().positive().default(4),
    mixing: z.number().gt(0).max(1).default(0.9),
    labelSmoothing,
  }),
])

/** One more mean squared error: pulls an intermediate value towards the teacher's of the same shape (Romero et al., arXiv 1412.6550). */
const Hint = z.strictObject({
  value: z.string().min(1),
  /** The teacher's value; absent: it has the same name. */
  from: z.string().min(1).optional(),
  weight: z.number().positive().default(1),
})

/**
 * Pressure on weights, added to the loss: `l1` λ Σ|w| and `l2` λ/2 Σw² on matrices and kernels; `group-lasso` λ Σ √n ‖w_c‖
 * (Yuan and Lin 2006) on all that makes a channel which pruning can remove. `l1` and `group-lasso` act after each update by
 * their proximal maps, which give exact zeros; with adam and adamw λ is apart from the gradient, as the decay of adamw is.
 * Under penalties the weights at the end are kept, not those that did best on the tuning split: to regularize alone, take
 * the `weightDecay` of the optimizer.
 */
const Penalty = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('l1'), strength: z.number().positive() }),
  z.strictObject({ kind: z.literal('l2'), strength: z.number().positive() }),
  z.strictObject({
    kind: z.literal('group-lasso'),
    strength: z.number().positive(),
    /**
     * Share of a layer's channels, those of the largest norms, that feel nothing (trimmed lasso: Yun et al., "Trimming the
     * l1 regularizer", ICML 2019). With 0 channels that stay shrink, too.
     */
    spared: z.number().min(0).lt(1).default(0),
  }),
])

const beta = z.number().min(0).lt(1)
const weightDecay = z.number().min(0).default(0)
const Adaptive = {
  beta1: beta.default(0.9),
  beta2: beta.default(0.999),
  epsilon: z.number().positive().default(1e-8),
  weightDecay,
}
/** How a gradient becomes a step. Weight decay of `adamw` is apart from the gradient (arXiv 1711.05101), the others' in it. */
const Optimizer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('sgd'), momentum: beta.default(0.9), weightDecay }),
  z.strictObject({ kind: z.literal('adam'), ...Adaptive }),
  z.strictObject({ kind: z.literal('adamw'), ...Adaptive }),
])

const warmUpSteps = z.int().min(0).default(0)
/** How the learning rate runs over the steps, after `warmUpSteps` in which it rises from zero in equal parts. */
const Schedule = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmUpSteps }),
  /** Half a cosine down to `finalRatio` of the rate at the last step (arXiv 1608.03983, without restarts). */
  z.strictObject({ kind: z.literal('cosine'), warmUpSteps, finalRatio: z.number().min(0).max(1).default(0) }),
  /** Times `factor` after every `everySteps`. */
  z.strictObject({
    kind: z.literal('step'),
    warmUpSteps,
    everySteps: z.int().min(1),
    factor: z.number().gt(0).lt(1),
  }),
])

/** Share of the weights that is zero, rising over the updates by a cubic (Zhu and Gupta, arXiv 1710.01878). */
const Sparsity = z.strictObject({
  final: z.number().gt(0).lt(1),
  scope: z.enum(['global', 'per-layer']).default('per-layer'),
  /** Share of the updates over which it rises; in the rest the weights that are left recover. */
  risesOver: z.number().gt(0).max(1).default(0.6),
  everyUpdates: z.int().min(1).default(10),
})

/** Of an input with floats. Axes are counted as in the model's input, where axis 0 counts samples. */
const Augmentation = z
  .strictObject({
    /** Absent: the model's only input. */
    input: z.string().min(1).optional(),
    /** By up to `most` positions either way; what moves in repeats the edge. */
    shifts: z.array(z.strictObject({ axis: z.int().min(1), most: z.int().min(1) })).default([]),
    /** Turned round along each of these axes in half of the cases. */
    mirrors: z.array(z.int().min(1)).default([]),
    /**
     * α of the Beta distribution that says in which shares two samples are mixed (Zhang et al., arXiv 1710.09412). Only
     * where no labels are needed: the teacher says what a mixture is (Beyer et al., arXiv 2106.05237).
     */
    mixup: z.number().min(0.01).max(4).optional(),
  })
  .refine(({ shifts }) => isDistinct(shifts.map(({ axis }) => axis)), { path: ['shifts'], error: 'say each axis once' })
  .refine(({ mirrors }) => isDistinct(mirrors), { path: ['mirrors'], error: 'say each axis once' })
  .refine(({ shifts, mirrors, mixup }) => shifts.length > 0 || mirrors.length > 0 || mixup !== undefined, {
    error: 'give "shifts", "mirrors" or "mixup", or leave it out',
  })

function isDistinct(axes: readonly number[]): boolean {
  return new Set(axes).size === axes.length
}

/** How weights are trained on the box. */
export const Training = z.strictObject({
  trainable: Trainable.default({ kind: 'all' }),
  loss: Loss.default({ kind: 'cross-entropy', labelSmoothing: 0 }),
  hints: z.array(Hint).default([]),
  penalties: z.array(Penalty).default([]),
  optimizer: Optimizer.default({ kind: 'sgd', momentum: 0.9, weightDecay: 0 }),
  learningRate: z.number().positive().default(0.01),
  schedule: Schedule.default({ kind: 'cosine', warmUpSteps: 0, finalRatio: 0 }),
  updates: z.int().min(1),
  /** Samples at a time. */
  batch: z.int().min(1).default(32),
  /** Batches an update. */
  accumulation: z.int().min(1).default(1),
  maxGradientNorm: z.number().positive().optional(),
  sparsity: Sparsity.optional(),
  /** Weights that are zero at first stay zero, in tensors that are not all zero: what was pruned before stays pruned. */
  keepZeros: z.boolean().default(true),
  /** Samples are changed at random each time they are drawn. A teacher is shown what the student is shown. */
  augmentation: Augmentation.optional(),
  seed: z.int().min(0).default(0),
  /** Updates between two looks at the tuning split. */
  evaluateEvery: z.int().min(1).default(50),
  /** Looks without a better score after which training ends. Under penalties, which cost score, none do. */
  patience: z.int().min(1).default(10),
  /** Training ends with what it has after so much time. */
  maxDurationMs: z.number().positive().optional(),
  /** Of the process that trains, as predicted. Batches that take more go through in parts; the update stays the same. */
  maxMemoryMib: z.number().positive().optional(),
  /** Training pauses while the box is hotter, in degrees. Has no effect where no sensor can be read. */
  pauseAboveCelsius: z.number().min(30).max(150).optional(),
})
export type Training = z.infer<typeof Training>

/** Whether the loss says nothing without labels. */
export function needsLabels({ loss }: Pick<Training, 'loss'>): boolean {
  return loss.kind !== 'distillation' || loss.mixing < 1
}
