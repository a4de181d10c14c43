import type { ArtifactRef } from '@edgefit/shared/model'
import type { ArtifactKind, ControllerDatabase } from '../store/schema.ts'

/** Notes an artifact of the store in fleet state; one that is known stays as it is. */
export async function recordArtifact(
  db: ControllerDatabase,
  kind: ArtifactKind,
  { digest, sizeBytes, manifest }: ArtifactRef,
  nowMs: number,
): Promise<void> {
  await db
    .insertInto('artifacts')
    .values({
      digest,
      size_bytes: sizeBytes,
      kind,
      manifest_digest: manifest.digest,
      manifest_size_bytes: manifest.sizeBytes,
      created_at_ms: nowMs,
    })
    .onConflict((conflict) => conflict.column('digest').doNothing())
    .execute()
}
