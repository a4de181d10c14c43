import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ArtifactStore,
  encodeManifest,
  type Manifest,
  manifestLayout,
  openArtifactStore,
} from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import { onTestFinished } from 'vitest'
import {
  type DownloadLimits,
  type DownloadProgress,
  type DownloadResult,
  downloadArtifact,
} from '../../../../agent/link/download.ts'
import { createUnreliableChannel, type UnreliableChannel } from '../../../support/unreliable-channel.ts'

/** Quick to lose patience, or the tests would take as long as a bad link does. */
const LIMITS: Partial<DownloadLimits> = {
  firstPatienceMs: 40,
  minPatienceMs: 20,
  maxPatienceMs: 80,
  maxFruitlessTries: 20,
  reserveBytes: 0,
}

export const FEW_TRIES = { maxFruitlessTries: 4 }

export interface DownloadScene {
  /** A folder that is gone after the test. */
  readonly root: string
  /** The controller's artifacts. */
  readonly source: ArtifactStore
  /** The device's. */
  readonly store: ArtifactStore
  /** A channel that serves these of `source`. */
  channelOf(...refs: readonly ArtifactRef[]): Promise<UnreliableChannel>
  download(
    ref: ArtifactRef,
    channel: UnreliableChannel,
    extra?: {
      readonly limits?: Partial<DownloadLimits>
      readonly store?: ArtifactStore
      readonly signal?: AbortSignal
      readonly onProgress?: (progress: DownloadProgress) => void
    },
  ): Promise<DownloadResult>
}

export async function openDownloadScene(): Promise<DownloadScene> {
  const root = await mkdtemp(join(tmpdir(), 'edgefit-download-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const source = await openArtifactStore(join(root, 'controller'))
  const store = await openArtifactStore(join(root, 'device'))
  return {
    root,
    source,
    store,
    async channelOf(...refs) {
      const artifacts = new Map<string, { bytes: Uint8Array; layout?: ReturnType<typeof manifestLayout> }>()
      for (const ref of refs) {
        const manifest = (await source.manifestOf(ref.digest)) as Manifest
        artifacts.set(ref.digest, { bytes: await readFile(source.path(ref.digest)), layout: manifestLayout(manifest) })
        artifacts.set(ref.manifest.digest, { bytes: encodeManifest(manifest) })
      }
      return createUnreliableChannel(artifacts)
    },
    download(ref, channel, extra = {}) {
      const { limits = {}, signal = AbortSignal.timeout(15_000), onProgress = () => undefined } = extra
      const options = { ref, store: extra.store ?? store, channel, now: () => performance.now(), random: () => 0.5 }
      return downloadArtifact({ ...options, limits: { ...LIMITS, ...limits } }, onProgress, signal)
    },
  }
}
