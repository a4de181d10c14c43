import { loadModel as loadGraph } from '@edgefit/shared/onnx'
import { accuracyFigures } from '../../agent/measure/accuracy-figures.ts'
import { batchFor } from '../../agent/measure/batching.ts'
import { loadModel } from '../../agent/measure/ort-session.ts'
import type { Samples as AgentSamples } from '../../agent/measure/samples.ts'
import { scorerFor } from '../../agent/measure/scoring.ts'
import { evaluate, type Verdicts } from '../../agent/measure/verdicts.ts'
import { batchOf, type Samples } from '../agent/compress/support/real-models.ts'
import { RUNTIME } from './ptq-recipes.ts'

const TASK = { kind: 'classification' } as const

/** What a model is judged by: rows `[from, to)`. */
export interface Rows {
  readonly evaluation: Samples
  readonly from: number
  readonly to: number
}

export interface Quality {
  /** Of top-1, minus fp32's on the same samples. */
  readonly points: number
  /** Of the logits against fp32's; 200 where they are equal. */
  readonly sqnrDb: number
}

/** What the model at `path` says, through the code that the agent measures accuracy with. */
export async function verdictsOf(path: string, rows: Rows): Promise<Verdicts> {
  const model = await loadModel(path, RUNTIME)
  const samples = inMemory(rows)
  try {
    const batch = await batchFor(await loadGraph(path), model, samples)
    const plan = { task: TASK, score: await scorerFor(TASK), batch, count: samples.count }
    return await evaluate(model, samples, plan, () => undefined)
  } finally {
    await model.release()
  }
}

export function top1(verdicts: Verdicts): number {
  const { accuracy } = accuracyFigures({ task: TASK, labels: null, variant: verdicts, baseline: verdicts })
  return 100 * accuracy.value
}

export function qualityOf(variant: Verdicts, baseline: Verdicts): Quality {
  const { sqnrDb } = accuracyFigures({ task: TASK, labels: null, variant, baseline })
  return { points: top1(variant) - top1(baseline), sqnrDb: sqnrDb ?? Number.NaN }
}

function inMemory({ evaluation, from, to }: Rows): AgentSamples {
  return {
    count: to - from,
    hasLabels: true,
    batchable: true,
    feeds: async (start, size) => batchOf(evaluation, from + start, from + start + size),
    labels: async (start, size) => Float64Array.from(evaluation.labels.subarray(from + start, from + start + size)),
    close: async () => undefined,
  }
}
