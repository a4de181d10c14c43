import { EdgefitError } from '@edgefit/shared'
import { Name } from '@edgefit/shared/model'

export interface VersionedName {
  readonly name: string
  /** Undefined: the newest. */
  readonly version: number | undefined
}

/**
 * Reads `detector` (its newest version) or `detector@3`.
 *
 * @throws EdgefitError INPUT_INVALID
 */
export function parseVersionedName(text: string, what: 'model' | 'dataset'): VersionedName {
  const match = /^([^@]+)(?:@([1-9]\d{0,8}))?$/.exec(text)
  const name = Name.safeParse(match?.[1])
  if (!name.success)
    throw new EdgefitError(`${what} "${text}": write NAME or NAME@VERSION, as in detector@3`, {
      code: 'INPUT_INVALID',
      details: { [what]: text },
    })
  return { name: name.data, version: match?.[2] === undefined ? undefined : Number(match[2]) }
}

/** @throws EdgefitError NOT_FOUND */
export function notPublished(
  what: 'model' | 'dataset',
  { name, version }: VersionedName,
  names: readonly string[],
): never {
  const asked = version === undefined ? name : `${name}@${version}`
  const known =
    names.length === 0 ? `none is published yet; see "edgefit ${what} publish --help"` : `there is ${names.join(', ')}`
  throw new EdgefitError(`no ${what} ${asked} is published; ${known}`, {
    code: 'NOT_FOUND',
    details: { [what]: asked },
  })
}
