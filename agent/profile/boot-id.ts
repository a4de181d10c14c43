import { readFile } from 'node:fs/promises'

/** Changes with every boot of the host; empty where the host has none. A profile is measured once per boot. */
export async function bootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  } catch {
    return ''
  }
}
