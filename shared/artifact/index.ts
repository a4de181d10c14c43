export { asDiskFull, renameDurably, syncDirectory, writeFileAtomic } from './atomic-file.ts'
export { chunkBorders } from './chunk-borders.ts'
export { digestBytes, digestFile } from './digest.ts'
export {
  type ChunkLayout,
  chunkAt,
  chunkCount,
  fixedLayout,
  MAX_SPAN_BYTES,
  MAX_SPAN_CHUNKS,
  spanAt,
  spanCount,
} from './layout.ts'
export {
  buildManifest,
  encodeManifest,
  isChunk,
  MAX_MANIFEST_BYTES,
  Manifest,
  manifestLayout,
  parseManifest,
} from './manifest.ts'
export { publishArtifact } from './publish.ts'
export { type ArtifactStore, openArtifactStore, type StoredArtifact } from './store.ts'
