import type { Measurement, SPLITS, SplitSpec, Task } from '@edgefit/shared/model'
import type { Effort, Loadable } from './jobs.ts'
import type { JobFailure, JobResult, JobRunner, RunOptions } from './runner.ts'

export interface MeasureInput {
  readonly variant: Loadable
  /** fp32 and its settings; null when the variant is fp32 itself. */
  readonly baseline: Loadable | null
  readonly samples: { readonly datasetDir: string; readonly split: SplitSpec; readonly which: (typeof SPLITS)[number] }
  readonly effort: Effort
  /** Null measures no accuracy (an unknown task). */
  readonly task: Task | null
  /** Evaluate at most this many samples of the split; null is all of them. */
  readonly maxSamples: number | null
  /** A file that caches what fp32 said of these samples. One per (source model, dataset, split, task). */
  readonly referencePath: string
}

export interface MeasureOptions extends RunOptions {
  readonly now: () => number
}

export type MeasureResult = { readonly kind: 'measured'; readonly measurement: Measurement } | JobFailure

/**
 * The full measurement of one file, in up to three processes: latency and memory of the variant alone, accuracy, and
 * the speed ratio by turns with the baseline. `timeoutMs` is the limit of each.
 *
 * Rejects as {@link JobRunner} does.
 */
export async function measureVariant(
  runner: JobRunner,
  input: MeasureInput,
  options: MeasureOptions,
  signal: AbortSignal,
): Promise<MeasureResult> {
  const { variant, baseline, samples, effort, task } = input
  const solo = await runner.run<'measure-solo'>({ kind: 'measure-solo', variant, samples, effort }, options, signal)
  if (solo.kind === 'failed') return solo
  const quality = task === null ? undefined : await measureAccuracy(runner, { ...input, task }, options, signal)
  if (quality?.kind === 'failed') return quality
  const against =
    baseline === null
      ? undefined
      : await runner.run<'measure-against'>(
          { kind: 'measure-against', variant, baseline, samples, effort },
          options,
          signal,
        )
  if (against?.kind === 'failed') return against
  const measurement: Measurement = {
    ...solo.value,
    accuracy: quality?.value.accuracy ?? null,
    peakRssBytes: solo.peakRssBytes,
    threads: variant.runtime.intraOpThreads,
    split: samples.which,
    runtime: variant.runtime,
    ...(against && {
      againstBaseline: {
        latencyRatio: against.value.latencyRatio,
        sqnrDb: quality?.value.sqnrDb ?? null,
        paired: quality?.value.paired ?? null,
        difference: quality?.value.difference ?? null,
      },
    }),
    measuredAtMs: options.now(),
  }
  return { kind: 'measured', measurement }
}

function measureAccuracy(
  runner: JobRunner,
  input: Omit<MeasureInput, 'task' | 'effort'> & { readonly task: Task },
  options: RunOptions,
  signal: AbortSignal,
): Promise<JobResult<'measure-accuracy'>> {
  const { variant, baseline, samples, task, maxSamples, referencePath } = input
  return runner.run<'measure-accuracy'>(
    { kind: 'measure-accuracy', variant, baseline, samples, task, maxSamples, referencePath },
    options,
    signal,
  )
}
