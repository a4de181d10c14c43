import type { Model } from '@edgefit/shared/onnx'
import { agree, scalesByBatch } from '../compress/index.ts'
import type { LoadedModel } from './ort-session.ts'
import type { Samples } from './samples.ts'
import { outputNumbers } from './scoring.ts'
import { splitBatch } from './verdicts.ts'

const BATCH = 16
const PROBE_SAMPLES = 8

/**
 * How many samples to evaluate at once: several only where that gives what one at a time gives, since one at a time is
 * how the model will serve. Dynamic quantization takes its scale from the whole batch, and graphs may mix samples.
 */
export async function batchFor(graph: Model, model: LoadedModel, samples: Samples): Promise<number> {
  const size = Math.min(PROBE_SAMPLES, samples.count)
  if (!samples.batchable || size < 2 || scalesByBatch(graph)) return 1
  return (await sameInBatch(model, samples, size)) ? BATCH : 1
}

async function sameInBatch(model: LoadedModel, samples: Samples, size: number): Promise<boolean> {
  const together = await model
    .bind(await samples.feeds(0, size))
    .run()
    // A batch axis that is symbolic at the inputs and fixed within.
    .catch(() => undefined)
  if (together === undefined || Object.values(together).some(({ dims }) => dims[0] !== size)) return false
  for (const [position, inBatch] of splitBatch(together, size).entries()) {
    const alone = await model.bind(await samples.feeds(position, 1)).run()
    for (const [name, output] of Object.entries(alone)) {
      const other = inBatch[name]
      if (other === undefined || !agree(outputNumbers(name, output), outputNumbers(name, other))) return false
    }
  }
  return true
}
