import type { Kysely, Migration } from 'kysely'

/** Numbered, append-only: a released migration is never edited. */
export const MIGRATIONS: Record<string, Migration> = {
  '0001-initial': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('outbox')
        .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('at_ms', 'integer', (column) => column.notNull())
        .addColumn('body', 'text', (column) => column.notNull())
        .execute()
      await db.schema
        .createTable('trials')
        .addColumn('study', 'text', (column) => column.notNull())
        .addColumn('recipe_digest', 'text', (column) => column.notNull())
        .addColumn('trial_id', 'integer', (column) => column.notNull())
        .addColumn('trial', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('trials_key', ['study', 'recipe_digest'])
        .execute()
      await db.schema
        .createTable('deployments')
        .addColumn('slot', 'text', (column) => column.primaryKey())
        .addColumn('deployment_id', 'text', (column) => column.notNull())
        .addColumn('goal', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('updated_at_ms', 'integer', (column) => column.notNull())
        .execute()
      await db.schema
        .createTable('facts')
        .addColumn('key', 'text', (column) => column.primaryKey())
        .addColumn('value', 'text', (column) => column.notNull())
        .execute()
    },
  },
  '0002-rankings': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('rankings')
        .addColumn('study', 'text', (column) => column.notNull())
        .addColumn('recipe_digest', 'text', (column) => column.notNull())
        .addColumn('layers', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('rankings_key', ['study', 'recipe_digest'])
        .execute()
    },
  },
  '0003-resolved-recipes': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('trials').addColumn('resolved', 'text').execute()
    },
  },
}
