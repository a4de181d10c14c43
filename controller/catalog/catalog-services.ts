import type { ArtifactStore } from '@edgefit/shared/artifact'
import type { ControllerDatabase } from '../store/schema.ts'

/** What publishing needs. */
export interface CatalogServices {
  readonly db: ControllerDatabase
  readonly artifacts: ArtifactStore
  readonly now: () => number
  /** An existing directory for files that live as long as one call. */
  readonly scratchDir: string
}
