import { access, copyFile, mkdir, open, readdir, readFile, readlink, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { asDiskFull, renameDurably, syncDirectory, writeFileAtomic } from '@edgefit/shared/artifact'
import { RuntimeJson } from '@edgefit/shared/model'

/**
 * The models that serve on this box.
 *
 *     STATE/active/{slot}            -> ../slots/{slot}/{version}   what applications read
 *     STATE/slots/{slot}/previous    -> {version}                   what a rollback returns to
 *     STATE/slots/{slot}/{version}/model.onnx, runtime.json         never changed once written
 *
 * INVARIANTS: `active/{slot}` is absent or points at a complete version. A version is complete before any link points
 * at it. Both hold at every moment, so a power cut leaves a working model. Slots share nothing: what happens in one
 * touches no other.
 */
export interface SlotStore {
  /**
   * Writes a version that nothing points at yet, and returns its name. Staging the same content again is free. What the
   * slot no longer needs makes room first.
   *
   * @throws EdgefitError DISK_FULL, with nothing left behind
   */
  stage(modelPath: string, runtime: RuntimeJson): Promise<string>
  /** Points `active/{slot}` at a staged version and keeps the one before as `previous`. Repeating it changes nothing. */
  activate(slot: string, version: string): Promise<void>
  /** Returns to the previous version; false where there is none. */
  rollBack(slot: string): Promise<boolean>
  /** Applications find no model in the slot any more, and its versions are gone. */
  empty(slot: string): Promise<void>
  /** What serves now. Undefined as well where a hand from outside has left a pointer to nothing. */
  active(slot: string): Promise<ActiveModel | undefined>
  list(): Promise<readonly string[]>
  /** Deletes versions of the slot that neither pointer needs. */
  tidy(slot: string): Promise<void>
}

interface ActiveModel {
  readonly version: string
  readonly modelPath: string
  /** Null where another version of the agent has written it in another shape, or it is damaged. */
  readonly runtime: RuntimeJson | null
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

  const keepOnly = async (slot: string, ...versions: readonly string[]) => {
    const keep = new Set([PREVIOUS, await activeVersion(slot), await previousVersion(slot), ...versions])
    for (const name of await readdir(slotDir(slot))) {
      if (!keep.has(name)) await rm(join(slotDir(slot), name), { recursive: true, force: true })
    }
  }

  return {
    async stage(modelPath, runtime) {
      const { slot, deploymentId, variant } = runtime
      const version = `${deploymentId}-${variant.digest.slice(0, 12)}-${variant.recipeDigest.slice(0, 8)}`
      const home = slotDir(slot)
      if ((await mkdir(home, { recursive: true })) !== undefined) await syncDirectory(slotsDir)
      await keepOnly(slot, version)
      const target = join(home, version)
      if (await isComplete(target)) return version
      const staging = join(home, `${INCOMPLETE}${version}`)
      try {
        await mkdir(staging)
        await copyFile(modelPath, join(staging, 'model.onnx'))
        await syncFile(join(staging, 'model.onnx'))
        await writeFileAtomic(join(staging, 'runtime.json'), Buffer.from(`${JSON.stringify(runtime, null, 2)}\n`))
        await rm(target, { recursive: true, force: true })
        await renameDurably(staging, target)
      } catch (error) {
        await rm(staging, { recursive: true, force: true })
        throw asDiskFull(error, home)
      }
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
      if (previous === undefined || previous === (await activeVersion(slot))) return false
      if (!(await isComplete(join(slotDir(slot), previous)))) return false
      await switchSymlink(join(activeDir, slot), join('..', 'slots', slot, previous))
      await rm(join(slotDir(slot), PREVIOUS), { force: true })
      await syncDirectory(slotDir(slot))
      return true
    },

    async empty(slot) {
      await rm(join(activeDir, slot), { force: true })
      await syncDirectory(activeDir)
      await rm(slotDir(slot), { recursive: true, force: true })
    },

    async active(slot) {
      const version = await activeVersion(slot)
      if (version === undefined) return undefined
      const folder = join(slotDir(slot), version)
      if (!(await isComplete(folder))) return undefined
      const runtime = parseRuntime(await readFile(join(folder, 'runtime.json'), 'utf8'))
      return { version, modelPath: join(folder, 'model.onnx'), runtime }
    },

    async list() {
      return (await readdir(activeDir)).filter((name) => !name.startsWith('.'))
    },

    tidy: (slot) => keepOnly(slot),
  }
}

function parseRuntime(text: string): RuntimeJson | null {
  try {
    return RuntimeJson.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}

/** Undefined where there is no link: nothing, or something that is not ours. */
async function pointedAt(link: string): Promise<string | undefined> {
  try {
    return basename(await readlink(link))
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'EINVAL')) {
      return undefined
    }
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

/** Points `link` at `target` in one step: there is no moment at which `link` is missing. */
async function switchSymlink(link: string, target: string): Promise<void> {
  const temporary = join(dirname(link), `.${basename(link)}.new`)
  await rm(temporary, { force: true })
  await symlink(target, temporary)
  await renameDurably(temporary, link)
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
