import { createHash } from 'node:crypto'
import type { Profile } from '@edgefit/shared/model'
import type { Cores } from './cpu.ts'

/** What decides how fast a model runs on a box and what numbers it gives. */
export interface ClassParts {
  readonly architecture: Profile['cpu']['architecture']
  readonly model: string
  readonly features: readonly string[]
  /** Of the CPUs that models run on. */
  readonly cores: Cores
  readonly cachesBytes: Profile['cpu']['cachesBytes']
  readonly usableCpus: number
  readonly usableMemoryBytes: number
  readonly runtimeVersion: string
}

const DIGITS = 12
const MHZ_STEP = 100

/**
 * Boxes of one class share what was learnt on one of them: `arm64-` or `x64-` and the start of a SHA-256 over the parts.
 *
 * The same over reboots and kernel updates: nothing of the moment goes in, memory counts in powers of two (its total
 * varies with the kernel and what the firmware takes), clocks in steps of 100 MHz, and the revision of a board not at
 * all.
 */
export function hardwareClass(parts: ClassParts): string {
  const { architecture, cachesBytes } = parts
  const decisive = [
    architecture,
    parts.model.replace(/ Rev [\d.]+$/i, ''),
    [...parts.features].sort(),
    parts.cores.map(({ kind, count, maxMhz }) => [
      kind,
      count,
      maxMhz === null ? null : Math.round(maxMhz / MHZ_STEP) * MHZ_STEP,
    ]),
    [cachesBytes.l1d, cachesBytes.l2, cachesBytes.l3],
    Math.round(parts.usableCpus * 100) / 100,
    Math.round(Math.log2(parts.usableMemoryBytes)),
    parts.runtimeVersion,
  ]
  const digest = createHash('sha256').update(JSON.stringify(decisive)).digest('hex')
  return `${architecture}-${digest.slice(0, DIGITS)}`
}
