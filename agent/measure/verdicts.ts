import type { Task } from '@edgefit/shared/model'
import type { LoadedModel, Outputs } from './ort-session.ts'
import type { Samples } from './samples.ts'
import { outputNumbers, type Scorer } from './scoring.ts'

/** Float outputs of one name for the first samples, row after row. */
export interface KeptOutput {
  readonly name: string
  readonly rowLength: number
  readonly data: Float32Array
}

/** What a model said of the first `count` samples of a part. */
export interface Verdicts {
  readonly count: number
  /** The class or score of each sample; NaN for tasks without. */
  readonly values: Float64Array
  /** 1 where right, null where neither labels nor a module say so. */
  readonly right: Uint8Array | null
  /** The first output first. Empty when the outputs are too large or vary in size. */
  readonly kept: readonly KeptOutput[]
}

export interface EvaluationPlan {
  readonly task: Task
  readonly score: Scorer
  readonly batch: number
  readonly count: number
}

/** Outputs kept to compare a variant with fp32, of each model. */
const KEPT_BYTES = 16 << 20
/** Enough for a signal-to-noise ratio. */
const KEPT_SAMPLES = 256

export async function evaluate(
  model: LoadedModel,
  samples: Samples,
  plan: EvaluationPlan,
  report: (fraction: number) => void,
): Promise<Verdicts> {
  const values = new Float64Array(plan.count)
  const right = new Uint8Array(plan.count)
  const keeper = outputKeeper(model, plan, samples.hasLabels)
  let judged = true
  let done = 0
  while (done < Math.min(plan.count, keeper.samplesWanted())) {
    const size = Math.min(plan.batch, plan.count - done)
    const outputs = await model.bind(await samples.feeds(done, size)).run()
    const labels = samples.hasLabels ? await samples.labels(done, size) : null
    for (const [offset, sample] of splitBatch(outputs, size).entries()) {
      const labelLength = (labels?.length ?? 0) / size
      const label = labels?.slice(offset * labelLength, (offset + 1) * labelLength) ?? null
      const first = sample[model.outputs[0]?.name ?? '']
      if (first === undefined) throw new RangeError('the model has no outputs')
      const row = outputNumbers(model.outputs[0]?.name ?? '', first)
      const verdict = plan.score({ row, lastAxis: first.dims.at(-1) ?? 1, outputs: sample, label })
      values[done] = verdict.value
      right[done] = verdict.right === true ? 1 : 0
      judged &&= verdict.right !== null
      keeper.keep(sample)
      done += 1
    }
    report(done / plan.count)
  }
  const count = Math.min(done, keeper.samplesWanted())
  return {
    count,
    values: values.slice(0, count),
    right: judged ? right.slice(0, count) : null,
    kept: keeper.kept(),
  }
}

/** The outputs of a batch, sample by sample. A single sample stays as it is, whatever its axes. */
export function splitBatch(outputs: Outputs, size: number): readonly Outputs[] {
  if (size === 1) return [outputs]
  return Array.from({ length: size }, (_, index) =>
    Object.fromEntries(
      Object.entries(outputs).map(([name, { type, dims, data }]) => {
        const length = data.length / size
        return [name, { type, dims: [1, ...dims.slice(1)], data: data.slice(index * length, (index + 1) * length) }]
      }),
    ),
  )
}

/**
 * Keeps float outputs of the first samples within the memory allowed. A regression without labels is judged by them,
 * so it ends where they do.
 */
function outputKeeper(model: LoadedModel, { task, count }: EvaluationPlan, hasLabels: boolean) {
  const names = model.outputs.filter(({ type }) => type === 'float32' || type === 'float64').map(({ name }) => name)
  const judgedByOutputs = task.kind === 'regression' && !hasLabels
  const rows = new Map<string, Float32Array>()
  let lengths: readonly number[] | undefined
  let limit = 0
  let taken = 0
  let regular = true
  return {
    samplesWanted: () => (judgedByOutputs && lengths !== undefined ? limit : count),
    keep(sample: Outputs): void {
      const found = names.map((name) => sample[name]?.data.length ?? 0)
      if (lengths === undefined) {
        lengths = found
        const sampleBytes = 4 * found.reduce((sum, length) => sum + length, 0)
        const affordable = sampleBytes === 0 ? 0 : Math.floor(KEPT_BYTES / sampleBytes)
        limit = Math.min(count, affordable, judgedByOutputs ? count : KEPT_SAMPLES)
        for (const [index, name] of names.entries()) rows.set(name, new Float32Array(limit * (found[index] ?? 0)))
      }
      regular &&= found.every((length, index) => length === lengths?.[index])
      if (!regular || taken >= limit) return
      for (const [index, name] of names.entries()) {
        const output = sample[name]
        if (output) rows.get(name)?.set(outputNumbers(name, output), taken * (lengths[index] ?? 0))
      }
      taken += 1
    },
    kept(): readonly KeptOutput[] {
      if (!regular || taken === 0) return []
      return names.map((name, index) => {
        const rowLength = lengths?.[index] ?? 0
        return { name, rowLength, data: (rows.get(name) ?? new Float32Array()).subarray(0, taken * rowLength) }
      })
    },
  }
}
