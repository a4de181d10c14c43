import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Removes files of `folder`, from the one written first on, until all that is left takes `maxBytes` at most. */
export async function keepNewest(folder: string, maxBytes: number): Promise<void> {
  const files = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const path = join(folder, name)
      // Another process may have removed it meanwhile.
      const { size, mtimeMs } = await stat(path).catch(() => ({ size: 0, mtimeMs: 0 }))
      return { path, size, mtimeMs }
    }),
  )
  let totalBytes = 0
  for (const { path, size } of files.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
    totalBytes += size
    if (totalBytes > maxBytes) await rm(path, { force: true })
  }
}
