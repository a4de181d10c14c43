import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { digestBytes } from '@edgefit/shared/artifact'
import { readMarker } from '@edgefit/shared/dataset'
import type { RuntimeSettings, SplitSpec, Task } from '@edgefit/shared/model'
import { describeIo, encodeModel, type Model } from '@edgefit/shared/onnx'
import type { TrainingPort } from '../compress/index.ts'
import { systemFiles } from '../profile/system-files.ts'
import { cpuTemperatureC } from '../profile/thermal.ts'
import { accuracyFigures } from './accuracy-figures.ts'
import { batchFor } from './batching.ts'
import { keepNewest } from './keep-newest.ts'
import { loadModelBytes } from './ort-session.ts'
import { peakRssBytes } from './process-memory.ts'
import { runtimeVersion } from './runtime-version.ts'
import { openSamples, type Samples } from './samples.ts'
import { scorerFor } from './scoring.ts'
import { evaluate, type Verdicts } from './verdicts.ts'

export interface TrainingPortOptions {
  readonly source: Model
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly task: Task
  /** Names of files that let training go on after a crash begin so. */
  readonly scratchPath: string
  /** Where the answers of teachers are kept for all builds; absent: as `scratchPath`. */
  readonly teacherDir?: string | undefined
  readonly threads: number
}

/** Of all the answers of teachers that are kept. */
const TEACHERS_BYTES = 512 * 2 ** 20

/** Training samples, and the tuning split to judge by, for passes that train. `close` is the last call. */
export async function openTrainingPort(
  options: TrainingPortOptions,
): Promise<{ readonly port: TrainingPort; close(): Promise<void> }> {
  const { source, datasetDir, split, task, scratchPath, teacherDir } = options
  const { inputs } = describeIo(source)
  if (teacherDir !== undefined) await mkdir(teacherDir, { recursive: true })
  const training = await openSamples({ datasetDir, split, which: 'training' }, inputs)
  const tuning = await openSamples({ datasetDir, split, which: 'tuning' }, inputs)
  const judge = await tuningJudge(options, tuning)
  const files = systemFiles()
  return {
    port: {
      data: {
        count: training.count,
        hasLabels: training.hasLabels,
        feeds: training.feedsAt,
        labels: training.labelsAt,
      },
      judge,
      scratchPath,
      ...(teacherDir !== undefined && { teacherPath: join(teacherDir, 'answers') }),
      dataKey: JSON.stringify([
        await readMarker(datasetDir),
        split,
        task,
        // Judges where there are no labels.
        digestBytes(encodeModel(source)),
        runtimeVersion(),
      ]),
      monotonicNow: () => performance.now(),
      thermometer: {
        celsius: () => cpuTemperatureC(files),
        sleep: (ms, signal) => setTimeout(ms, undefined, { signal }),
      },
      peakRssBytes: () => peakRssBytes('self'),
    },
    async close() {
      await training.close()
      await tuning.close()
      if (teacherDir !== undefined) await keepNewest(teacherDir, TEACHERS_BYTES)
    },
  }
}

async function tuningJudge(
  { source, task, threads }: TrainingPortOptions,
  tuning: Samples,
): Promise<TrainingPort['judge']> {
  const score = await scorerFor(task)
  const runtime: RuntimeSettings = { intraOpThreads: threads, allowSpinning: false, memoryArena: true }
  const labels = tuning.hasLabels && task.kind === 'binary-score' ? await tuning.labels(0, tuning.count) : null
  let baseline: Verdicts | undefined

  async function verdictsOf(model: Model, report: (share: number) => void): Promise<Verdicts> {
    const loaded = await loadModelBytes(encodeModel(model), runtime)
    try {
      const batch = await batchFor(model, loaded, tuning)
      return await evaluate(loaded, tuning, { task, score, batch, count: tuning.count }, report)
    } finally {
      await loaded.release()
    }
  }

  return async (model, onShare) => {
    const variant = await verdictsOf(model, onShare)
    // Where nothing else says what is right, fp32 does.
    if (variant.right === null && labels === null) baseline ??= await verdictsOf(source, onShare)
    return accuracyFigures({ task, labels, variant, baseline: baseline ?? variant }).accuracy.value
  }
}
