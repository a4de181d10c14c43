import { EdgefitError } from '@edgefit/shared'

export function unreadableFile(path: string, cause: unknown): EdgefitError {
  return new EdgefitError(`${path}: cannot read this file; check the path and its permissions`, {
    code: 'NOT_FOUND',
    cause,
    details: { path },
  })
}
