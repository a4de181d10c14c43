import { EdgefitError } from '@edgefit/shared'
import { Name } from '@edgefit/shared/model'

interface VersionedName {
  readonly name: string
  /** Undefined: the newest. */
  readonly version: number | undefined
}

/**
 * What `detector` (its newest version) or `detector@3` means among what `load` gives: the versions of a name, oldest
 * first, or everything.
 *
 * @throws EdgefitError INPUT_INVALID, NOT_FOUND
 */
export async function findVersion<Item extends { readonly name: string; readonly version: number }>(
  text: string,
  what: 'model' | 'dataset',
  load: (name?: string) => Promise<readonly Item[]>,
): Promise<Item> {
  const { name, version } = parseVersionedName(text, what)
  const versions = await load(name)
  const found = version === undefined ? versions.at(-1) : versions.find((item) => item.version === version)
  if (found !== undefined) return found
  const published = (versions.length > 0 ? versions : await load()).map((item) => `${item.name}@${item.version}`)
  const known =
    published.length === 0
      ? `none is published yet; see "edgefit ${what} publish --help"`
      : `there is ${published.join(', ')}`
  throw new EdgefitError(`no ${what} ${text} is published; ${known}`, { code: 'NOT_FOUND', details: { [what]: text } })
}

/**
 * Reads `detector` (its newest version) or `detector@3`.
 *
 * @throws EdgefitError INPUT_INVALID
 */
function parseVersionedName(text: string, what: 'model' | 'dataset'): VersionedName {
  const match = /^([^@]+)(?:@([1-9]\d{0,8}))?$/.exec(text)
  const name = Name.safeParse(match?.[1])
  if (!name.success)
    throw new EdgefitError(`${what} "${text}": write NAME or NAME@VERSION, as in detector@3`, {
      code: 'INPUT_INVALID',
      details: { [what]: text },
    })
  return { name: name.data, version: match?.[2] === undefined ? undefined : Number(match[2]) }
}
