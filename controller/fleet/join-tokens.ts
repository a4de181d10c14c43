import { recordEvent } from '../store/record-event.ts'
import type { ControllerDatabase } from '../store/schema.ts'

export interface NewJoinToken {
  readonly id: string
  readonly secretHash: string
  readonly expiresAtMs: number
  /** Null: any number of devices. */
  readonly maxUses: number | null
}

export async function createJoinToken(db: ControllerDatabase, token: NewJoinToken, nowMs: number): Promise<void> {
  const { id, secretHash, expiresAtMs, maxUses } = token
  await db.transaction().execute(async (trx) => {
    await trx
      .insertInto('join_tokens')
      .values({ id, secret_hash: secretHash, created_at_ms: nowMs, expires_at_ms: expiresAtMs, max_uses: maxUses })
      .execute()
    const data = { expiresAtMs, maxUses }
    await recordEvent(trx, { atMs: nowMs, actor: 'operator', kind: 'token-created', subject: `token:${id}`, data })
  })
}

/** Whether the token is in force for this device. A device it has served before is served again. Call it in a transaction. */
export async function admitJoinToken(
  db: ControllerDatabase,
  secretHash: string,
  device: string,
  nowMs: number,
): Promise<boolean> {
  const token = await db
    .selectFrom('join_tokens')
    .select(['id', 'max_uses'])
    .where('secret_hash', '=', secretHash)
    .where('expires_at_ms', '>', nowMs)
    .executeTakeFirst()
  if (token === undefined) return false
  const uses = await db.selectFrom('join_token_uses').select('device_id').where('token_id', '=', token.id).execute()
  if (uses.some((use) => use.device_id === device)) return true
  if (token.max_uses !== null && uses.length >= token.max_uses) return false
  await db.insertInto('join_token_uses').values({ token_id: token.id, device_id: device, used_at_ms: nowMs }).execute()
  return true
}
