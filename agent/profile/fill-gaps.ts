import type { Profile } from '@edgefit/shared/model'
import si from 'systeminformation'

type CpuFacts = Pick<Profile['cpu'], 'model' | 'cachesBytes'>

/**
 * CPU facts that the kernel's files leave open, from `systeminformation`, which also asks `lscpu`, the firmware and the
 * device tree. What the files told stays as it is: it is what the hardware class rests on.
 */
export async function fillCpuGaps<Facts extends CpuFacts>(facts: Facts): Promise<Facts> {
  const { model, cachesBytes } = facts
  if (model !== 'unknown' && Object.values(cachesBytes).every((bytes) => bytes !== null)) return facts
  const { manufacturer, brand, cache } = await si.cpu()
  const named = [manufacturer, brand].filter(Boolean).join(' ')
  return {
    ...facts,
    model: model === 'unknown' && named !== '' ? named : model,
    cachesBytes: {
      l1d: cachesBytes.l1d ?? positive(cache.l1d),
      l2: cachesBytes.l2 ?? positive(cache.l2),
      l3: cachesBytes.l3 ?? positive(cache.l3),
    },
  }
}

/** The CPU's temperature where no thermal zone tells it: boards with sensors of their own. */
export async function fillTemperature(temperatureC: number | null): Promise<number | null> {
  return temperatureC ?? positive((await si.cpuTemperature()).main)
}

/** `systeminformation` has 0, -1, NaN, the empty string or null for what it does not know. */
function positive(value: unknown): number | null {
  return typeof value === 'number' && value > 0 ? value : null
}
