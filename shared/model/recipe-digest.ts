import { createHash } from 'node:crypto'
import type { Digest } from './primitives.ts'
import type { Recipe } from './recipe.ts'

/** SHA-256 over the recipe's canonical JSON (keys sorted, label left out): equal recipes have equal digests. */
export function recipeDigest({ label: _label, ...recipe }: Recipe): Digest {
  return createHash('sha256')
    .update(JSON.stringify(sortKeys(recipe)))
    .digest('hex')
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, sortKeys(item)]))
}
