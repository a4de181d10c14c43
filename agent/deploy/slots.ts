import { access, copyFile, mkdir, readdir, readFile, readlink, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { EdgefitError, parseJsonWith } from '@edgefit/shared'
import { RuntimeJson } from '@edgefit/shared/model'
import { switchSymlink, syncDirectory, syncFile, writeFileDurably } from './durable.ts'

/**
 * The models that serve on this box.
 *
 *     STATE/active/{slot}            -> ../slots/{slot}/{version}   what applications read
 *     STATE/slots/{slot}/previous    -> {version}                   what a rollback returns to
 *     STATE/slots/{slot}/{version}/model.onnx, runtime.json         never changed once written
 *
 * INVARIANTS: `active/{slot}` is absent or points at a complete version. A version is complete before any link points
 * at it. Both hold at every moment, so a power cut leaves a working model.
 */
export interface SlotStore {
  /** Writes a version that nothing points at yet, and returns its name. Staging the same content again is free. */
  stage(modelPath: string, runtime: RuntimeJson): Promise<string>
  /** Points `active/{slot}` at a staged version and keeps the one before as `previous`. Repeating it changes nothing. */
  activate(slot: string, version: string): Promise<void>
  /** Returns to the previous version; false where there is none. */
  rollBack(slot: string): Promise<boolean>
  /** Removes the active pointer: applications find no model in the slot. */
  empty(slot: string): Promise<void>
  /** What serves now. */
  active(slot: string): Promise<ActiveModel | undefined>
  list(): Promise<readonly string[]>
  /** Deletes versions that neither pointer needs, and what an interrupted staging left. */
  tidy(): Promise<void>
}

interface ActiveModel {
  readonly version: string
  readonly modelPath: string
  readonly runtime: RuntimeJson
}

const PREVIOUS = 'previous'
const INCOMPLETE = '.staging-'

export async function openSlotStore(stateDir: string): Promise<SlotStore> {
  const activeDir = join(stateDir, 'active')
  const slotsDir = join(stateDir, 'slots')
  await mkdir(activeDir, { recursive: true })
  await mkdir(slotsDir, { recursive: true })
  const slotDir = (slot: string) => join(slotsDir, slot)
  const activeVersion = (slot: string) => pointedAt(join(activeDir, slot))
  const previousVersion = (slot: string) => pointedAt(join(slotDir(slot), PREVIOUS))

  const store: SlotStore = {
    async stage(modelPath, runtime) {
      const { slot, deploymentId, variant } = runtime
      const version = `${deploymentId}-${variant.digest.slice(0, 12)}-${variant.recipeDigest.slice(0, 8)}`
      const home = slotDir(slot)
      const target = join(home, version)
      if (await isComplete(target)) return version
      const staging = join(home, `${INCOMPLETE}${version}`)
      await rm(staging, { recursive: true, force: true })
      await mkdir(staging, { recursive: true })
      await copyFile(modelPath, join(staging, 'model.onnx'))
      await syncFile(join(staging, 'model.onnx'))
      await writeFileDurably(join(staging, 'runtime.json'), `${JSON.stringify(runtime, null, 2)}\n`)
      await rm(target, { recursive: true, force: true })
      await rename(staging, target)
      await syncDirectory(home)
      return version
    },

    async activate(slot, version) {
      if (!(await isComplete(join(slotDir(slot), version)))) {
        throw new EdgefitError(`slot ${slot} has no staged version ${version}`, { code: 'NOT_FOUND' })
      }
      const before = await activeVersion(slot)
      if (before === version) return
      if (before !== undefined) await switchSymlink(join(slotDir(slot), PREVIOUS), before)
      await switchSymlink(join(activeDir, slot), join('..', 'slots', slot, version))
    },

    async rollBack(slot) {
      const previous = await previousVersion(slot)
      if (previous === undefined || !(await isComplete(join(slotDir(slot), previous)))) return false
      await switchSymlink(join(activeDir, slot), join('..', 'slots', slot, previous))
      await rm(join(slotDir(slot), PREVIOUS), { force: true })
      await syncDirectory(slotDir(slot))
      return true
    },

    async empty(slot) {
      await rm(join(activeDir, slot), { force: true })
      await syncDirectory(activeDir)
    },

    async active(slot) {
      const version = await activeVersion(slot)
      if (version === undefined) return undefined
      const folder = join(slotDir(slot), version)
      const text = await readFile(join(folder, 'runtime.json'), 'utf8')
      return {
        version,
        modelPath: join(folder, 'model.onnx'),
        runtime: parseJsonWith(RuntimeJson, text, join(folder, 'runtime.json'), 'INTERNAL'),
      }
    },

    async list() {
      return (await readdir(activeDir)).filter((name) => !name.startsWith('.'))
    },

    async tidy() {
      for (const slot of await readdir(slotsDir)) {
        const keep = new Set([PREVIOUS, await activeVersion(slot), await previousVersion(slot)])
        for (const name of await readdir(slotDir(slot))) {
          if (!keep.has(name)) await rm(join(slotDir(slot), name), { recursive: true, force: true })
        }
      }
    },
  }
  return store
}

async function pointedAt(link: string): Promise<string | undefined> {
  try {
    return basename(await readlink(link))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** A version folder appears by rename, after both files were synced: if it is there, it is whole. */
async function isComplete(folder: string): Promise<boolean> {
  try {
    await access(join(folder, 'runtime.json'))
    return true
  } catch {
    return false
  }
}
