export interface CloneWatch {
  /**
   * Takes the birth of a device's agent, by the instance it names. True where two boxes share the identity: an
   * instance that another had replaced speaks again. Says so once an hour a device.
   */
  met(device: string, instance: string, nowMs: number): boolean
}

const REMIND_AFTER_MS = 3_600_000
const REPLACED_KEPT = 4

/**
 * An agent names itself anew whenever its process starts, so a box that restarts or reconnects never brings back a
 * name that was replaced. Nothing is kept over a restart of the controller: clones soon show again.
 */
export function createCloneWatch(): CloneWatch {
  const known = new Map<string, { current: string; replaced: readonly string[]; saidAtMs: number | undefined }>()
  return {
    met(device, instance, nowMs) {
      const before = known.get(device)
      if (before === undefined) known.set(device, { current: instance, replaced: [], saidAtMs: undefined })
      if (before === undefined || before.current === instance) return false
      const back = before.replaced.includes(instance)
      const others = before.replaced.filter((each) => each !== instance)
      before.replaced = [before.current, ...others].slice(0, REPLACED_KEPT)
      before.current = instance
      if (!back || (before.saidAtMs !== undefined && nowMs - before.saidAtMs < REMIND_AFTER_MS)) return false
      before.saidAtMs = nowMs
      return true
    },
  }
}
