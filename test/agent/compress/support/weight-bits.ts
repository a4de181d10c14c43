import { readFileSync } from 'node:fs'
import { quantizationFlavours } from '../../../../agent/compress/index.ts'
import { kernelFeatures, parseCpuInfo } from '../../../../agent/profile/cpu-info.ts'

const [flavour] = quantizationFlavours({
  architecture: process.arch === 'arm64' ? 'arm64' : 'x64',
  features: kernelFeatures(parseCpuInfo(readFileSync('/proc/cpuinfo', 'utf8'))),
})

/** int8 weights as the kernels of this CPU want them: where its multiply-add saturates, with a bit less. */
export const INT8_WEIGHTS = { type: 'int8', perChannel: true, reducedRange: flavour?.weights.reducedRange === true }

/** Limits on noise are those of all 8 bits; one bit is 6 dB. */
export const LESS_DB = INT8_WEIGHTS.reducedRange ? 6 : 0
