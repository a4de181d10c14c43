import type { Measurement } from '@edgefit/shared/model'
import { orThrow } from '../search/step-error.ts'
import type { DataOptions } from './plan-data.ts'
import { bestRuntime, type LabPorts, withTemporaryLab } from './temporary-lab.ts'

/** Measures one file as it is, with the runtime settings that suit it best within the box's limits. */
export async function bench(options: DataOptions, ports: LabPorts, signal: AbortSignal): Promise<Measurement> {
  const { modelPath } = options
  return await withTemporaryLab(
    options,
    ports,
    async (lab) => {
      const runtime = await bestRuntime(lab, modelPath, ports, signal)
      ports.onStep('measuring')
      const measured = await lab.measure({ path: modelPath, runtime }, null, 'evaluation', signal)
      return orThrow('the model could not be measured', measured).measurement
    },
    signal,
  )
}
