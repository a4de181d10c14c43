import { rm } from 'node:fs/promises'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import { type ArtifactStore, digestFile, isChunk, type Manifest, manifestLayout } from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import type { ChunkChannel } from './download-channel.ts'
import { obtainManifest } from './download-manifest.ts'
import { openPartialFile, type PartialFile } from './download-partial.ts'
import { type PullLimits, type PullStats, pullChunks } from './download-pull.ts'
import { reuseLocalChunks } from './download-reuse.ts'
import { DEFAULT_WINDOW } from './download-window.ts'

export interface DownloadLimits extends PullLimits {
  /** Left free on the disk: journals and logs must go on. */
  readonly reserveBytes: number
}

const DEFAULT_LIMITS: DownloadLimits = {
  ...DEFAULT_WINDOW,
  maxFruitlessTries: 8,
  reserveBytes: 16 * 2 ** 20,
}

export interface DownloadOptions {
  readonly ref: ArtifactRef
  readonly store: ArtifactStore
  readonly channel: ChunkChannel
  readonly now: () => number
  readonly random: () => number
  readonly limits?: Partial<DownloadLimits>
}

export interface DownloadProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  /** Came over the network in this attempt. */
  readonly fetchedBytes: number
  /** Copied from other artifacts on this device. */
  readonly reusedBytes: number
  /** Was there before: left by an earlier attempt, or all of it. */
  readonly resumedBytes: number
}

export interface DownloadResult extends DownloadProgress {
  readonly path: string
  /** `undefined` where nothing had to be fetched. */
  readonly pull: PullStats | undefined
}

/** Downloads in progress by their place in the store. */
const active = new Map<string, Promise<unknown>>()

/**
 * Brings an artifact into the store: first its manifest, verified against the signed reference, then the chunks that
 * neither an earlier attempt nor another artifact on the device holds. Memory is bounded by the window, not the file.
 *
 * What was verified stays in the store's partial file when this fails or the process dies, and the next attempt goes on
 * from there; only a disk that fills up while writing costs it, because the box needs the space more. Without a
 * connection it waits until `signal` ends it.
 *
 * @throws EdgefitError DISK_FULL, ARTIFACT_CORRUPT, UNAVAILABLE (asking stayed without effect), PROTOCOL_INVALID (a
 * manifest this version cannot use); the signal's reason.
 */
export async function downloadArtifact(
  options: DownloadOptions,
  onProgress: (progress: DownloadProgress) => void,
  signal: AbortSignal,
): Promise<DownloadResult> {
  const path = options.store.path(options.ref.digest)
  // Two slots may want the same artifact at once: they would share one partial file, so one goes after the other.
  for (let other = active.get(path); other !== undefined; other = active.get(path)) await settled(other, signal)
  const download = attempt(options, onProgress, signal)
  active.set(path, download)
  try {
    return await download
  } finally {
    active.delete(path)
  }
}

async function attempt(
  options: DownloadOptions,
  onProgress: (progress: DownloadProgress) => void,
  signal: AbortSignal,
): Promise<DownloadResult> {
  const { ref, store } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const path = store.path(ref.digest)
  const progress = progressOf(ref.sizeBytes, onProgress)
  if (await store.has(ref.digest)) return { ...progress.add('resumedBytes', ref.sizeBytes), path, pull: undefined }
  const manifest = await obtainManifest({ ...options, limits }, signal)
  const partialPath = store.partialPath(ref.digest)
  const partial = await openPartialFile(partialPath, manifest)
  let pull: PullStats
  try {
    pull = await fill({ ...options, limits, manifest, partial, partialPath, progress }, signal)
  } finally {
    await partial.close()
  }
  await verifyWhole(partialPath, ref, signal)
  await store.putManifest(manifest)
  await store.adopt(partialPath, ref.digest)
  return { ...progress.now(), path, pull }
}

interface Filling extends Omit<DownloadOptions, 'limits'> {
  readonly limits: DownloadLimits
  readonly manifest: Manifest
  readonly partial: PartialFile
  readonly partialPath: string
  readonly progress: ReturnType<typeof progressOf>
}

/** Gets every chunk into the partial file: what is there, what is elsewhere on the device, what must be fetched. */
async function fill(filling: Filling, signal: AbortSignal): Promise<PullStats> {
  const { manifest, partial, partialPath, progress, store, limits, ref } = filling
  const sizeOf = (index: number) => manifest.sizes[index] ?? 0
  const present = await partial.present(signal)
  const missing = new Set([...manifest.sizes.keys()].filter((index) => !present.has(index)))
  for (const index of present) progress.add('resumedBytes', sizeOf(index))
  let missingBytes = 0
  for (const index of missing) missingBytes += sizeOf(index)
  const freeBytes = await store.freeBytes()
  if (freeBytes < missingBytes + limits.reserveBytes) {
    if (present.size === 0) await rm(partialPath, { force: true })
    throw diskFull(ref, missingBytes + limits.reserveBytes, freeBytes)
  }
  try {
    const write = async (index: number, bytes: Uint8Array, source: 'reusedBytes' | 'fetchedBytes') => {
      await partial.write(index, bytes)
      progress.add(source, bytes.byteLength)
    }
    await reuseLocalChunks(store, manifest, missing, (index, bytes) => write(index, bytes, 'reusedBytes'), signal)
    const pull = await pullChunks(
      {
        ...filling,
        artifact: ref.digest,
        layout: manifestLayout(manifest),
        wanted: (index) => missing.has(index),
        verify: (index, bytes) => isChunk(manifest, index, bytes),
        write: (index, bytes) => write(index, bytes, 'fetchedBytes'),
      },
      signal,
    )
    await partial.sync()
    return pull
  } catch (error) {
    if (isEdgefitError(error, 'DISK_FULL')) await rm(partialPath, { force: true })
    throw error
  }
}

async function verifyWhole(partialPath: string, ref: ArtifactRef, signal: AbortSignal): Promise<void> {
  const actual = await digestFile(partialPath, signal)
  if (actual === ref.digest) return
  await rm(partialPath, { force: true })
  throw new EdgefitError(
    `artifact ${ref.digest}: its chunks are good but together they have another digest; check the disk, or publish it again`,
    { code: 'ARTIFACT_CORRUPT', details: { expected: ref.digest, actual } },
  )
}

function diskFull(ref: ArtifactRef, neededBytes: number, freeBytes: number): EdgefitError {
  return new EdgefitError(
    `artifact ${ref.digest} needs ${neededBytes} bytes of free disk, ${freeBytes} are free; free some and try again`,
    { code: 'DISK_FULL', details: { neededBytes, freeBytes } },
  )
}

function progressOf(bytesTotal: number, onProgress: (progress: DownloadProgress) => void) {
  let current: DownloadProgress = { bytesDone: 0, bytesTotal, fetchedBytes: 0, reusedBytes: 0, resumedBytes: 0 }
  return {
    now: () => current,
    add(source: 'fetchedBytes' | 'reusedBytes' | 'resumedBytes', bytes: number): DownloadProgress {
      current = { ...current, bytesDone: current.bytesDone + bytes, [source]: current[source] + bytes }
      onProgress(current)
      return current
    },
  }
}

/** Waits until `promise` has ended, one way or the other. */
function settled(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    void promise
      .catch(() => undefined)
      .finally(() => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
  })
}
