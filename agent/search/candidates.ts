import type { Pass, Profile, Recipe, RuntimeSettings } from '@edgefit/shared/model'
import { type QuantizationFlavour, quantizationFlavours } from '../compress/index.ts'
import { threadsFor } from '../profile/threads-for.ts'

/** Runtime settings worth timing on a box with `cpus` usable cores: thread counts by powers of two, with and without spinning. */
export function runtimeCandidates(cpus: number): RuntimeSettings[] {
  const cores = threadsFor(cpus)
  const threads = new Set<number>([1, cores])
  for (let count = 2; count < cores; count *= 2) threads.add(count)
  return [...threads]
    .sort((a, b) => a - b)
    .flatMap((intraOpThreads) =>
      // One thread has nobody to wait for, and so nothing to spin on.
      (intraOpThreads === 1 ? [false] : [false, true]).map((allowSpinning) => ({
        intraOpThreads,
        allowSpinning,
        memoryArena: true,
      })),
    )
}

export interface CandidateInput {
  readonly cpu: Profile['cpu']
  /** Operator type to count, of the source model. */
  readonly operators: ReadonlyMap<string, number>
  readonly calibrationSamples: number
  readonly runtime: RuntimeSettings
}

type StaticPass = Extract<Pass, { pass: 'quantize-static' }>
type Calibration = StaticPass['calibration']

/** The one builder of recipes to try: batch normalization that the model has is folded before anything else. */
export function recipeOf({ operators, runtime }: CandidateInput, label: string, passes: readonly Pass[]): Recipe {
  const fold: Pass[] = (operators.get('BatchNormalization') ?? 0) > 0 ? [{ pass: 'fold-batch-norm' }] : []
  return { schemaVersion: 1, label, passes: [...fold, ...passes], runtime }
}

export function staticCandidate(
  { name, activations, weights, floatStem }: QuantizationFlavour,
  calibration: Calibration,
): { readonly label: string; readonly pass: StaticPass } {
  return {
    label: `static int8 ${name}, ${calibrationLabel(calibration)}`,
    pass: {
      pass: 'quantize-static',
      activations,
      weights: { ...weights, perChannel: true },
      calibration,
      exclude: [],
      ...(floatStem ? { floatStem } : {}),
    },
  }
}

/**
 * Squared error kept the outputs of four in five real models closer to fp32 than minmax did, and takes longest. Entropy
 * is not among them: it was further off on four of the five.
 */
function calibrations(samples: number): readonly Calibration[] {
  return [
    { method: 'minmax', samples },
    { method: 'percentile', percentile: 99.99, samples },
    { method: 'percentile', percentile: 99.9, samples },
    { method: 'mse', samples },
  ]
}

function calibrationLabel(calibration: Calibration): string {
  return calibration.method === 'percentile' ? `percentile ${calibration.percentile}` : calibration.method
}

/**
 * The recipes of a study in the order in which they are tried, most promising first: what a search budget cuts off is
 * the tail. fp32 is not among them, it is the baseline.
 */
export function quantizationCandidates(input: CandidateInput): Recipe[] {
  const { operators, calibrationSamples: samples } = input
  const count = (...types: string[]) => types.reduce((sum, type) => sum + (operators.get(type) ?? 0), 0)
  const products = count('MatMul', 'Gemm')
  const convolutions = count('Conv')
  const recipe = (label: string, ...passes: readonly Pass[]): Recipe => recipeOf(input, label, passes)

  const flavours = quantizationFlavours(input.cpu)
  const statics = flavours.flatMap((flavour) =>
    calibrations(samples).map((calibration) => {
      const { label, pass } = staticCandidate(flavour, calibration)
      return recipe(label, pass)
    }),
  )
  const dynamic: Pass = {
    pass: 'quantize-dynamic',
    weights: { type: 'int8', perChannel: true, reducedRange: flavours[0]?.weights.reducedRange ?? false },
    exclude: [],
  }
  const dynamics = products === 0 ? [] : [recipe('dynamic int8', dynamic)]
  if (convolutions > 0) return [...statics, ...dynamics]
  if (products === 0) return statics
  const weightOnly = ([8, 4] as const).map((bits) => {
    const pass: Pass = {
      pass: 'quantize-weights',
      bits,
      blockSize: 32,
      symmetric: true,
      form: 'matmulnbits',
      exclude: [],
    }
    return { label: `weight-only int${bits}`, pass }
  })
  // An embedding, read by Gather, is often half of a model, and the only part that stays in float.
  if (count('Gather') === 0)
    return [...dynamics, ...statics, ...weightOnly.map(({ label, pass }) => recipe(label, pass))]
  const halved = [{ label: 'dynamic int8', pass: dynamic }, ...weightOnly].map(({ label, pass }) =>
    recipe(`${label}, embeddings float16`, pass, { pass: 'to-float16', compute: 'float32', keep: [] }),
  )
  return [...dynamics, ...statics, ...halved]
}
