import type { Profile } from '@edgefit/shared/model'

/** Of a box that does not exist: good for naming a hardware class. */
export const SOME_PROFILE: Profile = {
  hardwareClass: 'x64-0123456789ab',
  cpu: {
    architecture: process.arch === 'arm64' ? 'arm64' : 'x64',
    model: 'a CPU',
    features: [],
    cores: [{ kind: 'cpu', count: 1, maxMhz: null }],
    logicalCores: 1,
    cachesBytes: { l1d: null, l2: null, l3: null },
  },
  memoryBytes: 2 ** 30,
  os: { name: 'a system', kernel: '6', libc: 'glibc' },
  limits: { cpus: 1, memoryBytes: null, source: 'none' },
  governor: null,
  temperatureC: null,
  runtimeVersion: '1.30.0',
  agentVersion: '0.1.0',
  measured: null,
}
