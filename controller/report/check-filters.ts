import { EdgefitError } from '@edgefit/shared'
import type { ControllerDatabase } from '../store/schema.ts'
import type { ReportFilters } from './latency-report.ts'

const NAMES_LISTED = 20

/**
 * A filter that names nothing is a typing error, not an empty report.
 *
 * @throws EdgefitError NOT_FOUND that lists what there is.
 */
export async function checkFilters(db: ControllerDatabase, filters: ReportFilters): Promise<void> {
  const { device, model, rollout, hardwareClass } = filters
  if (device !== undefined) {
    const rows = await db.selectFrom('devices').select('id').orderBy('id').execute()
    mustInclude(
      '--device',
      device,
      rows.map(({ id }) => id),
    )
  }
  if (model !== undefined) {
    const rows = await db.selectFrom('models').select(['name', 'version']).orderBy('name').orderBy('version').execute()
    const { name, version } = parseModelFilter(model)
    const versions = rows.map((row) => `${row.name}@${row.version}`)
    if (version === undefined) mustInclude('--model', name, [...new Set(rows.map((row) => row.name))])
    else mustInclude('--model', `${name}@${version}`, versions)
  }
  if (rollout !== undefined) {
    const rows = await db.selectFrom('rollouts').select('id').orderBy('created_at_ms', 'desc').execute()
    mustInclude(
      '--rollout',
      rollout,
      rows.map(({ id }) => id),
    )
  }
  if (hardwareClass !== undefined) {
    const rows = await db.selectFrom('devices').select('hardware_class').distinct().orderBy('hardware_class').execute()
    mustInclude(
      '--class',
      hardwareClass,
      rows.flatMap((row) => row.hardware_class ?? []),
    )
  }
}

/** `detector` is every version of it, `detector@3` that one. Names hold no "@". */
export function parseModelFilter(model: string): { readonly name: string; readonly version: number | undefined } {
  const match = /^(.*)@(\d+)$/.exec(model)
  return match?.[1] === undefined ? { name: model, version: undefined } : { name: match[1], version: Number(match[2]) }
}

function mustInclude(option: string, value: string, existing: readonly string[]): void {
  if (existing.includes(value)) return
  const listed = existing.slice(0, NAMES_LISTED).join(', ')
  const more = existing.length > NAMES_LISTED ? ` and ${existing.length - NAMES_LISTED} more` : ''
  const remedy = existing.length === 0 ? 'there is none yet' : `there is ${listed}${more}`
  throw new EdgefitError(`${option}: nothing is called "${value}"; ${remedy}`, {
    code: 'NOT_FOUND',
    details: { option, value, existing: existing.slice(0, NAMES_LISTED) },
  })
}
