import * as z from 'zod'
import { LatencyReport, queryLatencyReport, ReportFilters } from '../report/index.ts'
import { EVENT_KINDS } from '../store/schema.ts'
import { command, query } from './operation.ts'

export const fleetOperations = {
  'controller.info': command(
    z.strictObject({}),
    z.object({
      version: z.string(),
      fleet: z.string(),
      brokerUrl: z.string(),
      brokerConnected: z.boolean(),
      keyFingerprint: z.string(),
      startedAtMs: z.int(),
    }),
    ({ info }) => Promise.resolve(info()),
  ),

  'report.latency': query(z.strictObject(ReportFilters.shape), LatencyReport, async ({ db, now }, filters) =>
    queryLatencyReport(db, filters, now()),
  ),

  /** Newest first. */
  'event.list': query(
    z.strictObject({ subject: z.string().optional(), limit: z.int().min(1).max(1000).default(100) }),
    z.object({
      events: z.array(
        z.object({
          id: z.int(),
          atMs: z.int(),
          actor: z.string(),
          kind: z.enum(EVENT_KINDS),
          subject: z.string(),
          data: z.record(z.string(), z.unknown()),
        }),
      ),
    }),
    async ({ db }, { subject, limit }) => {
      let rows = db.selectFrom('events').selectAll().orderBy('id', 'desc').limit(limit)
      if (subject !== undefined) rows = rows.where('subject', '=', subject)
      return {
        events: (await rows.execute()).map(({ id, at_ms: atMs, actor, kind, subject, data }) => ({
          id,
          atMs,
          actor,
          kind,
          subject,
          data: JSON.parse(data),
        })),
      }
    },
  ),
}
