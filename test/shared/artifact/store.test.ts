import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type ArtifactStore,
  openArtifactStore,
  publishArtifact,
  writeFileAtomic,
} from '../../../shared/artifact/index.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const hello = Buffer.from('hello')

let root: string
let store: ArtifactStore
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edgefit-store-'))
  store = await openArtifactStore(join(root, 'store'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

function leftovers(directory = join(root, 'store', 'tmp')): Promise<string[]> {
  return readdir(directory)
}

describe('the artifact store', () => {
  it('keeps bytes, files and streams under their digest', async () => {
    const file = join(root, 'file')
    await writeFile(file, 'from a file')
    async function* stream() {
      yield await Promise.resolve(Buffer.from('from '))
      yield Buffer.from('a stream')
    }

    const digests = [await store.put(hello), await store.put(file), await store.put(stream())]

    expect(digests).toEqual([sha256(hello), sha256(Buffer.from('from a file')), sha256(Buffer.from('from a stream'))])
    expect(await readFile(store.path(digests[2] ?? ''), 'utf8')).toBe('from a stream')
    expect(await leftovers()).toEqual([])
  })

  it('takes the same bytes twice', async () => {
    await store.put(hello)

    expect(await store.put(hello)).toBe(sha256(hello))
    expect(await store.list()).toEqual([{ digest: sha256(hello), sizeBytes: 5 }])
  })

  it('knows what it has', async () => {
    const digest = await store.put(hello)

    expect(await store.has(digest)).toBe(true)
    expect(await store.sizeBytes(digest)).toBe(5)
    expect(await store.has('0'.repeat(64))).toBe(false)
    await store.remove(digest)
    expect(await store.has(digest)).toBe(false)
  })

  it('refuses a digest that would lead out of its folder', () => {
    expect(() => store.path('../../etc/passwd')).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
  })

  it('leaves nothing of a source that fails midway', async () => {
    async function* broken() {
      yield await Promise.resolve(hello)
      throw new Error('cable pulled')
    }

    await expect(store.put(broken())).rejects.toThrow('cable pulled')
    expect(await leftovers()).toEqual([])
    expect(await store.list()).toEqual([])
  })

  it('finds and removes a damaged object', async () => {
    const digest = await store.put(hello)
    await store.verify(digest)
    await appendFile(store.path(digest), '!')

    await expect(store.verify(digest)).rejects.toMatchObject({ code: 'ARTIFACT_CORRUPT' })
    expect(await store.has(digest)).toBe(false)
    await expect(store.verify(digest)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('clears the leftovers of a crash when it opens, and keeps the rest', async () => {
    const digest = await store.put(hello)
    await writeFile(join(store.root, 'tmp', '0'), 'half')
    await writeFile(store.partialPath('a'.repeat(64)), 'half')

    const reopened = await openArtifactStore(store.root)

    expect(await leftovers()).toEqual([])
    expect(await reopened.has(digest)).toBe(true)
    expect(await leftovers(join(store.root, 'partial'))).toEqual(['a'.repeat(64)])
  })

  it('ties manifests to artifacts', async () => {
    const ref = await publishArtifact(store, hello)

    expect(ref).toMatchObject({ digest: sha256(hello), sizeBytes: 5 })
    expect((await store.manifestOf(ref.digest))?.digests).toEqual([sha256(hello)])
    expect(await store.sizeBytes(ref.manifest.digest)).toBe(ref.manifest.sizeBytes)
    expect(await store.manifestOf('0'.repeat(64))).toBeUndefined()
  })

  it('publishes the same file with the same reference, even cut in another way', async () => {
    const file = Buffer.alloc(100_000, 1)
    const ref = await publishArtifact(store, file)

    expect(await publishArtifact(store, file, [50_000])).toEqual(ref)
  })

  it('does not hand out a damaged manifest', async () => {
    const ref = await publishArtifact(store, hello)
    await truncate(store.path(ref.manifest.digest), 10)

    expect(await store.manifestOf(ref.digest)).toBeUndefined()
  })

  it('retains what is named, with its manifest, and nothing else', async () => {
    const kept = await publishArtifact(store, Buffer.from('kept'))
    const dropped = await publishArtifact(store, Buffer.from('dropped'))
    await writeFile(store.partialPath('a'.repeat(64)), 'half')
    await writeFile(store.partialPath('b'.repeat(64)), 'half')

    const removed = await store.retain([kept.digest, 'b'.repeat(64)])

    expect([...removed].sort()).toEqual([dropped.digest, dropped.manifest.digest].sort())
    expect(await store.manifestOf(kept.digest)).toBeDefined()
    expect(await store.manifestOf(dropped.digest)).toBeUndefined()
    expect(await leftovers(join(store.root, 'partial'))).toEqual(['b'.repeat(64)])
    expect(await leftovers(join(store.root, 'manifests'))).toEqual([kept.digest])
  })
})

describe('an atomic write', () => {
  it('replaces the old file as a whole', async () => {
    const path = join(root, 'pointer')
    await writeFileAtomic(path, Buffer.from('one'))
    await writeFileAtomic(path, Buffer.from('two'))

    expect(await readFile(path, 'utf8')).toBe('two')
    expect(await readdir(root)).toEqual(['pointer', 'store'])
  })

  it('that cannot be renamed into place leaves nothing behind', async () => {
    const path = join(root, 'taken')
    await mkdir(join(path, 'full'), { recursive: true })

    await expect(writeFileAtomic(path, hello)).rejects.toThrow()
    expect(await readdir(root)).toEqual(['store', 'taken'])
  })
})

describe('a store on a full disk', () => {
  it('says so, leaves nothing behind and takes the artifact later', async (context) => {
    const disk = join(root, 'disk')
    await mkdir(disk)
    try {
      execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      return context.skip('mounting a small disk needs root')
    }
    try {
      const small = await openArtifactStore(join(disk, 'store'))
      await writeFile(join(disk, 'ballast'), Buffer.alloc(128 * 1024))
      const artifact = Buffer.alloc(160 * 1024, 7)

      await expect(small.put(artifact)).rejects.toMatchObject({ code: 'DISK_FULL' })
      expect(await leftovers(join(small.root, 'tmp'))).toEqual([])
      expect(await small.list()).toEqual([])

      await rm(join(disk, 'ballast'))
      expect(await small.put(artifact)).toBe(sha256(artifact))
    } finally {
      execFileSync('/bin/umount', [disk])
    }
  })
})
