import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError } from '../errors.ts'
import { Digest } from '../model/primitives.ts'
import { orRemove, renameDurably, syncDirectory, writeFileAtomic, writeFileSynced } from './atomic-file.ts'
import { digestBytes, digestFile, readPieces } from './digest.ts'
import { encodeManifest, type Manifest, parseManifest } from './manifest.ts'

export interface StoredArtifact {
  readonly digest: Digest
  readonly sizeBytes: number
}

/**
 * Immutable files by their digest, on one file system.
 *
 *     objects/{first two digits}/{digest}   complete and verified when they were written
 *     manifests/{digest of the artifact}    digest of the manifest, itself an object
 *     partial/{digest}                      downloads in progress, kept across restarts
 *     tmp/                                  emptied at open
 *
 * One process owns a store at a time. What is written is on disk before it has its name, so after a crash or a power
 * cut an object is whole or absent. What cannot be written leaves nothing behind and throws DISK_FULL.
 */
export interface ArtifactStore {
  readonly root: string
  /** Takes a path, bytes or a stream; keeps what is there already. Returns the digest. */
  put(source: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<Digest>
  /** Moves a file of this file system, synced and known to have `digest`, into the store. */
  adopt(path: string, digest: Digest): Promise<void>
  /** Keeps a manifest and ties it to its artifact, unless the artifact has one already. Returns the one that counts. */
  putManifest(manifest: Manifest): Promise<StoredArtifact>
  manifestOf(artifact: Digest): Promise<Manifest | undefined>
  has(digest: Digest): Promise<boolean>
  sizeBytes(digest: Digest): Promise<number | undefined>
  /** Where the object is or would be. */
  path(digest: Digest): string
  partialPath(digest: Digest): string
  /** Reads it all again. Removes what is damaged and throws ARTIFACT_CORRUPT; NOT_FOUND when there is none. */
  verify(digest: Digest, signal?: AbortSignal): Promise<void>
  list(): Promise<readonly StoredArtifact[]>
  /** With its manifest. */
  remove(digest: Digest): Promise<void>
  /**
   * Removes all objects and partial downloads but these and the manifests of complete ones. For a download in progress
   * name the manifest's digest too. Returns what was removed.
   */
  retain(digests: Iterable<Digest>): Promise<readonly Digest[]>
  /** Free space for this process on the store's file system. */
  freeBytes(): Promise<number>
}

/** Creates the folders where they are missing and clears what a crash has left unfinished. */
export async function openArtifactStore(root: string): Promise<ArtifactStore> {
  const directory = (name: string) => join(root, name)
  await rm(directory('tmp'), { recursive: true, force: true })
  for (const name of ['objects', 'manifests', 'partial', 'tmp']) await mkdir(directory(name), { recursive: true })
  let temporaries = 0
  const nextTemporary = () => join(root, 'tmp', String(temporaries++))
  const shard = (digest: Digest) => join(root, 'objects', digest.slice(0, 2))
  const path = (digest: Digest) => join(shard(digest), checked(digest))
  const linkPath = (artifact: Digest) => join(root, 'manifests', checked(artifact))
  const partialPath = (digest: Digest) => join(root, 'partial', checked(digest))

  const store: ArtifactStore = {
    root,
    path,
    partialPath,

    async put(source) {
      if (source instanceof Uint8Array) {
        const digest = digestBytes(source)
        if (await store.has(digest)) return digest
      }
      const temporary = nextTemporary()
      const hash = createHash('sha256')
      await writeFileSynced(temporary, hashing(readable(source), hash))
      const digest = hash.digest('hex')
      await store.adopt(temporary, digest)
      return digest
    },

    async adopt(from, digest) {
      if (await store.has(digest)) return rm(from, { force: true })
      await orRemove(from, async () => {
        if ((await mkdir(shard(digest), { recursive: true })) !== undefined) await syncDirectory(directory('objects'))
        await renameDurably(from, path(digest))
      })
    },

    async putManifest(manifest) {
      const known = await linked(linkPath(manifest.digest))
      const knownSize = known === undefined ? undefined : await store.sizeBytes(known)
      if (known !== undefined && knownSize !== undefined) return { digest: known, sizeBytes: knownSize }
      const bytes = encodeManifest(manifest)
      const digest = await store.put(bytes)
      await writeFileAtomic(linkPath(manifest.digest), Buffer.from(digest), nextTemporary())
      return { digest, sizeBytes: bytes.byteLength }
    },

    async manifestOf(artifact) {
      const digest = await linked(linkPath(artifact))
      const bytes = digest === undefined ? undefined : await readFile(path(digest)).catch(absent)
      return bytes === undefined || digestBytes(bytes) !== digest ? undefined : parseManifest(bytes)
    },

    async has(digest) {
      return (await store.sizeBytes(digest)) !== undefined
    },

    async sizeBytes(digest) {
      return (await stat(path(digest)).catch(absent))?.size
    },

    async verify(digest, signal) {
      if (!(await store.has(digest)))
        throw new EdgefitError(`artifact ${digest} is not in the store`, { code: 'NOT_FOUND' })
      const actual = await digestFile(path(digest), signal)
      if (actual === digest) return
      await store.remove(digest)
      throw new EdgefitError(`artifact ${digest} was damaged on disk and is removed; fetch it again`, {
        code: 'ARTIFACT_CORRUPT',
        details: { expected: digest, actual },
      })
    },

    async list() {
      const stored: StoredArtifact[] = []
      for (const shardName of await readdir(directory('objects')))
        for (const name of await readdir(join(root, 'objects', shardName))) {
          const sizeBytes = Digest.safeParse(name).success ? await store.sizeBytes(name) : undefined
          if (sizeBytes !== undefined) stored.push({ digest: name, sizeBytes })
        }
      return stored
    },

    async remove(digest) {
      const manifest = await linked(linkPath(digest))
      await rm(linkPath(digest), { force: true })
      for (const object of manifest === undefined ? [digest] : [digest, manifest])
        await rm(path(object), { force: true })
    },

    async retain(digests) {
      const artifacts = new Set(digests)
      const kept = new Set(artifacts)
      for (const artifact of artifacts) {
        const manifest = await linked(linkPath(artifact))
        if (manifest !== undefined) kept.add(manifest)
      }
      const removed: Digest[] = []
      for (const { digest } of await store.list()) {
        if (kept.has(digest)) continue
        await store.remove(digest)
        removed.push(digest)
      }
      for (const folder of ['partial', 'manifests'])
        for (const name of await readdir(directory(folder)))
          if (!kept.has(name)) await rm(join(root, folder, name), { force: true })
      return removed
    },

    async freeBytes() {
      const { bavail, bsize } = await statfs(root)
      return bavail * bsize
    },
  }
  return store
}

/** A digest becomes part of a path, so nothing else may. */
function checked(digest: Digest): Digest {
  const parsed = Digest.safeParse(digest)
  if (!parsed.success)
    throw new EdgefitError(`artifact digest "${digest}" is not a SHA-256 in lower-case hex`, { code: 'INPUT_INVALID' })
  return parsed.data
}

async function linked(linkPath: string): Promise<Digest | undefined> {
  return Digest.safeParse(await readFile(linkPath, 'utf8').catch(absent)).data
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function readable(source: string | Uint8Array | AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  if (typeof source === 'string') return readPieces(source)
  return source instanceof Uint8Array ? once(source) : source
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield await Promise.resolve(bytes)
}

async function* hashing(content: AsyncIterable<Uint8Array>, hash: ReturnType<typeof createHash>) {
  for await (const piece of content) {
    hash.update(piece)
    yield piece
  }
}
