import { constants } from 'node:fs'
import { access, mkdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { EdgefitError, parseJsonWith } from '@edgefit/shared'
import { Recipe } from '@edgefit/shared/model'

/** What commands without a state folder keep from run to run, by the XDG base directory specification. */
export function cacheDir(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'edgefit')
}

/**
 * Looks at a file of the command line before minutes are spent on others. `option` is how the operator named it.
 *
 * @throws EdgefitError INPUT_INVALID where it cannot be read
 */
export async function requireFile(option: string, path: string): Promise<void> {
  try {
    await access(path, constants.R_OK)
    if ((await stat(path)).isFile()) return
  } catch (cause) {
    throw new EdgefitError(`${option}: cannot read ${path}: check the path`, { code: 'INPUT_INVALID', cause })
  }
  throw new EdgefitError(`${option}: ${path} is not a file: check the path`, { code: 'INPUT_INVALID' })
}

/** @throws EdgefitError INPUT_INVALID where it cannot be made or written to */
export async function requireFolder(option: string, path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
    await access(path, constants.W_OK)
  } catch (cause) {
    throw new EdgefitError(`${option}: ${path} is no folder to write to: name another one`, {
      code: 'INPUT_INVALID',
      cause,
    })
  }
}

/** @throws EdgefitError RECIPE_INVALID naming the field and the remedy */
export async function readRecipe(path: string): Promise<Recipe> {
  return parseJsonWith(Recipe, await readFile(path, 'utf8'), path, 'RECIPE_INVALID')
}
