import { Profile } from '@edgefit/shared/model'
import * as z from 'zod'
import type { AgentDatabase } from '../store/database.ts'

const FACT = 'profile'
const Cached = z.object({ key: z.string(), profile: Profile })

/**
 * The profile of this boot: measured once, and again when `key` (boot, limits, versions) has changed.
 *
 * Calls that overlap share one measurement, which ends with `lifetime`; each caller stops waiting by its own signal.
 */
export function createProfileCache(
  database: AgentDatabase,
  key: string,
  measure: (signal: AbortSignal) => Promise<Profile>,
  lifetime: AbortSignal,
): { readonly current: () => Profile | undefined; readonly get: (signal: AbortSignal) => Promise<Profile> } {
  let current: Profile | undefined
  let pending: Promise<Profile> | undefined

  const load = async (): Promise<Profile> => {
    const row = await database.selectFrom('facts').select('value').where('key', '=', FACT).executeTakeFirst()
    const cached = row && Cached.safeParse(JSON.parse(row.value)).data
    if (cached?.key === key) return cached.profile
    const profile = await measure(lifetime)
    const value = JSON.stringify({ key, profile })
    await database
      .insertInto('facts')
      .values({ key: FACT, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
      .execute()
    return profile
  }

  return {
    current: () => current,
    async get(signal) {
      pending ??= load().finally(() => {
        pending = undefined
      })
      current = await unlessAborted(pending, signal)
      return current
    },
  }
}

function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
