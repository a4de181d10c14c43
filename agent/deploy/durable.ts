import { open, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Writes, syncs, renames and syncs the folder: after a power cut the path holds the old bytes or the new ones. */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.new`)
  const handle = await open(temporary, 'w', mode)
  try {
    await handle.writeFile(data)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  await syncDirectory(dirname(path))
}

/** Points `link` at `target` in one step: there is no moment at which `link` is missing. */
export async function switchSymlink(link: string, target: string): Promise<void> {
  const temporary = join(dirname(link), `.${basename(link)}.new`)
  await rm(temporary, { force: true })
  await symlink(target, temporary)
  await rename(temporary, link)
  await syncDirectory(dirname(link))
}

/** A rename is on disk only once its folder is. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
