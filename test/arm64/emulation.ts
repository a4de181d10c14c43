import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createChildRunner } from '../../agent/measure/child.ts'
import type { JobRunner } from '../../agent/measure/runner.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** CPUs of QEMU: a Raspberry Pi 4, whose cores have no dot product, a Pi 5, and one that has i8mm and SVE. */
export const EMULATED_CPUS = ['cortex-a72', 'cortex-a76', 'max'] as const
export type EmulatedCpu = (typeof EMULATED_CPUS)[number]

const folder = resolve(process.env['EDGEFIT_ARM64_DIR'] ?? here('../../.cache/arm64'))

/** What setup.sh prepares last, for this checkout. */
const sqlite = join(folder, 'sysroot', here('../../node_modules/better-sqlite3/build/Release/better_sqlite3.node'))
export const isPrepared = existsSync(sqlite)

/** The command that starts node on an emulated CPU. */
export function emulatedNode(cpu: EmulatedCpu): readonly string[] {
  return ['env', `EDGEFIT_ARM64_CPU=${cpu}`, here('node')]
}

/** Runs the agent's jobs here, or on an emulated CPU: the same worker either way. The packages must be built. */
export function jobRunner(cpu: EmulatedCpu | undefined, lockPath: string): Promise<JobRunner> {
  return createChildRunner({
    lockPath,
    workerEntry: new URL('../../agent/dist/measure/worker.js', import.meta.url),
    ...(cpu !== undefined && { nodeCommand: emulatedNode(cpu) }),
  })
}
