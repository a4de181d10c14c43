import { loadModel } from './ort-session.ts'
import { runtimeVersion } from './runtime-version.ts'
import { openSamples } from './samples.ts'
import type { JobHandlers } from './serve-job.ts'

/** Does the runtime take this model, and what does it take and give? With samples it also runs one. */
export const inspect: JobHandlers['inspect'] = async ({ modelPath, samples: ref }, report) => {
  report('loading')
  const model = await loadModel(modelPath, { intraOpThreads: 1, allowSpinning: false, memoryArena: true })
  if (ref !== null) {
    const samples = await openSamples(ref, model.inputs)
    await model.bind(await samples.feeds(0, 1)).run()
    await samples.close()
  }
  return { inputs: [...model.inputs], outputs: [...model.outputs], runtimeVersion: runtimeVersion() }
}
