import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The text files in which Linux describes itself. What cannot be read is absent: containers hide much of it. */
export interface SystemFiles {
  /** Without surrounding white space and NULs (device-tree strings end in one). */
  text(path: string): string | undefined
  number(path: string): number | undefined
  /** Names in a directory, sorted. */
  list(path: string): readonly string[]
}

/** @param root `/`, or the copy of another box's files. */
export function systemFiles(root = '/'): SystemFiles {
  const text = (path: string): string | undefined => {
    try {
      return readFileSync(join(root, path), 'utf8').replaceAll('\0', '').trim()
    } catch {
      return undefined
    }
  }
  return {
    text,
    number(path) {
      const content = text(path)
      const value = content === undefined || content === '' ? Number.NaN : Number(content)
      return Number.isFinite(value) ? value : undefined
    },
    list(path) {
      try {
        return readdirSync(join(root, path)).sort()
      } catch {
        return []
      }
    },
  }
}
