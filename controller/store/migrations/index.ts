import type { Migration } from 'kysely'
import { initial } from './0001-initial.ts'

/** Append-only: a released migration is never edited. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-initial': initial,
}
