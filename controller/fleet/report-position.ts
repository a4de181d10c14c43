import { EdgefitError } from '@edgefit/shared'
import type { ControllerDatabase } from '../store/schema.ts'

const SEQS_PER_JOURNAL = 1e12
/** More would not be told apart in a double; no box is wiped that often. */
const MAX_JOURNALS = 1_000

/** Where a report stands among all reports of its device: the higher, the newer. */
export function reportPosition(rank: number, seq: number): number {
  return rank * SEQS_PER_JOURNAL + seq
}

/**
 * The rank of one of a device's journals; one not met before is the newest.
 *
 * @throws EdgefitError CONFLICT for more journals than any box can have had.
 */
export async function journalRank(db: ControllerDatabase, device: string, journal: string): Promise<number> {
  const journals = await db.selectFrom('journals').select(['journal', 'rank']).where('device_id', '=', device).execute()
  const known = journals.find((row) => row.journal === journal)
  if (known !== undefined) return known.rank
  const rank = journals.length
  if (rank >= MAX_JOURNALS)
    throw new EdgefitError(`device "${device}" has begun ${MAX_JOURNALS} journals; decommission it and enrol it anew`, {
      code: 'CONFLICT',
      details: { device },
    })
  await db.insertInto('journals').values({ device_id: device, journal, rank }).execute()
  return rank
}
