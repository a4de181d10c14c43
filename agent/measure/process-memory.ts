import { readFileSync } from 'node:fs'

/**
 * Peak resident memory of a process since its last `exec` (VmHWM), in bytes; undefined when it is gone or the host has
 * no /proc. `getrusage` will not do: its maximum is inherited from the process that forked.
 */
export function peakRssBytes(pid: number | 'self'): number | undefined {
  let status: string
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return undefined
  }
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
}

/** Short name of the program a process runs now, undefined when it is gone. */
export function programName(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** How many processes the kernel has killed for want of memory since boot; undefined where it does not tell. */
export function oomKillCount(): number | undefined {
  try {
    const count = /^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1]
    return count === undefined ? undefined : Number(count)
  } catch {
    return undefined
  }
}
