import { EdgefitError } from '@edgefit/shared'
import type { DeviceView } from './device-view.ts'

/** `key=value` terms that must all hold. No terms: every device. */
export interface Selector {
  readonly terms: readonly { readonly key: string; readonly value: string }[]
}

/** Keys that name a fact of the box; labels of these names do not count. */
export const FACT_KEYS = ['device', 'class', 'arch'] as const

const TERM = /^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=([^=,]{1,128})$/

/**
 * Reads `all`, or terms joined by commas that must all hold: `site=lab,arch=arm64`. A key is a label or one of
 * `device`, `class`, `arch`.
 *
 * @throws EdgefitError INPUT_INVALID that names the term at fault.
 */
export function parseSelector(text: string): Selector {
  const trimmed = text.trim()
  if (trimmed === 'all') return { terms: [] }
  const terms = trimmed.split(',').map((part) => {
    const match = TERM.exec(part.trim())
    if (match?.[1] === undefined || match[2] === undefined)
      throw invalid(`"${part.trim()}" is not a term; write KEY=VALUE, as in site=lab,arch=arm64, or "all"`, text)
    return { key: match[1], value: match[2].trim() }
  })
  const repeated = terms.find((term, index) => terms.findIndex((other) => other.key === term.key) !== index)
  if (repeated !== undefined)
    throw invalid(`"${repeated.key}" is given twice, and all terms must hold; give it once`, text)
  return { terms }
}

export function matchesSelector(selector: Selector, device: DeviceView): boolean {
  const facts = selectableFacts(device)
  return selector.terms.every((term) => facts.get(term.key) === term.value)
}

/**
 * The devices among `devices` that `text` selects.
 *
 * @throws EdgefitError INPUT_INVALID where it selects none: the message lists the keys or values there are.
 */
export function selectDevices(text: string, devices: readonly DeviceView[]): readonly DeviceView[] {
  const selector = parseSelector(text)
  const matching = devices.filter((device) => matchesSelector(selector, device))
  if (matching.length > 0) return matching
  if (devices.length === 0)
    throw invalid(
      'no device is accepted yet; see "edgefit device list", then accept some with "edgefit device accept"',
      text,
    )
  const facts = devices.map(selectableFacts)
  for (const { key, value } of selector.terms) {
    const values = distinct(facts.map((fact) => fact.get(key)))
    if (values.length === 0)
      throw invalid(
        `no accepted device has "${key}"; there is ${distinct(facts.flatMap((fact) => [...fact.keys()])).join(', ')}`,
        text,
      )
    if (!values.includes(value))
      throw invalid(`no accepted device has ${key}=${value}; ${key} is one of ${values.join(', ')}`, text)
  }
  throw invalid('no accepted device fits all terms together; drop one, or see "edgefit device list"', text)
}

function selectableFacts(device: DeviceView): ReadonlyMap<string, string | undefined> {
  return new Map([
    ...Object.entries(device.labels),
    ['device', device.id],
    ['class', device.hardwareClass ?? undefined],
    ['arch', device.architecture ?? undefined],
  ])
}

function distinct(values: readonly (string | undefined)[]): readonly string[] {
  const present = [...new Set(values.filter((value) => value !== undefined))].sort()
  return present.length > 20 ? [...present.slice(0, 20), '…'] : present
}

function invalid(problem: string, selector: string): EdgefitError {
  return new EdgefitError(`selector: ${problem}`, { code: 'INPUT_INVALID', details: { selector } })
}
