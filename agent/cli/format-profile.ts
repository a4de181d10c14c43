import type { Profile } from '@edgefit/shared/model'
import { formatBytes } from './format.ts'

/** The profile as a person reads it. */
export function formatProfile(profile: Profile): string {
  const { cpu, limits, measured, os } = profile
  const cores = cpu.cores.map(
    ({ kind, count, maxMhz }) => `${count} × ${kind}${maxMhz === null ? '' : ` up to ${maxMhz} MHz`}`,
  )
  const cache = (bytes: number | null) => (bytes === null ? 'unknown' : formatBytes(bytes))
  const { l1d, l2, l3 } = cpu.cachesBytes
  const memoryLimit = limits.memoryBytes === null ? '' : `, ${formatBytes(limits.memoryBytes)} of memory`
  return [
    `class        ${profile.hardwareClass}`,
    `cpu          ${cpu.model} (${cpu.architecture})`,
    `cores        ${cores.join(', ')}`,
    `features     ${cpu.features.join(' ') || 'none that select kernels'}`,
    `caches       L1d ${cache(l1d)}, L2 ${cache(l2)}, L3 ${cache(l3)}`,
    `memory       ${formatBytes(profile.memoryBytes)}`,
    `usable       ${limits.cpus} CPUs${memoryLimit} (limit: ${limits.source})`,
    `os           ${os.name}, kernel ${os.kernel}, ${os.libc}`,
    `governor     ${profile.governor ?? 'not told'}, temperature ${profile.temperatureC === null ? 'not told' : `${profile.temperatureC} °C`}`,
    `runtime      onnxruntime ${profile.runtimeVersion}, agent ${profile.agentVersion}`,
    measured === null
      ? 'measured     not measured'
      : `measured     ${measured.fp32Gflops.toFixed(0)} GFLOP/s fp32, ${measured.int8Gops.toFixed(0)} GOP/s int8, ${measured.memoryGBps.toFixed(1)} GB/s memory`,
  ].join('\n')
}
