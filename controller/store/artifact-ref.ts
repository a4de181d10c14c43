import type { ArtifactRef } from '@edgefit/shared/model'
import type { ControllerTables } from './schema.ts'

/** How a row of `artifacts` is named in goals and views. */
export function artifactRefOf(
  row: Pick<ControllerTables['artifacts'], 'digest' | 'size_bytes' | 'manifest_digest' | 'manifest_size_bytes'>,
): ArtifactRef {
  return {
    digest: row.digest,
    sizeBytes: row.size_bytes,
    manifest: { digest: row.manifest_digest, sizeBytes: row.manifest_size_bytes },
  }
}
