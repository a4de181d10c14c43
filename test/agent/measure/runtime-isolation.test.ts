import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const agent = fileURLToPath(new URL('../../../agent/', import.meta.url))
const worker = join(agent, 'measure/worker.ts')

/** Values imported by a source file, statically or not; types leave no trace at run time. */
function importsOf(path: string): readonly string[] {
  const text = readFileSync(path, 'utf8')
  const statements = text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)
  const calls = text.matchAll(/\b(?:import|require)\('([^']+)'\)/g)
  return [...statements, ...calls].map(([, specifier]) => specifier ?? '')
}

/** All that is loaded with `entry`: our files by path, packages by name. */
function reachableFrom(entry: string): ReadonlySet<string> {
  const seen = new Set<string>()
  const open = [entry]
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    for (const specifier of importsOf(path)) {
      if (!specifier.startsWith('.')) seen.add(specifier)
      else if (existsSync(join(dirname(path), specifier))) open.push(join(dirname(path), specifier))
    }
  }
  return seen
}

const entries = ['main.ts', 'index.ts', 'measure/child.ts', 'measure/measure.ts', 'profile/profile-device.ts']
  .map((name) => join(agent, name))
  .filter((path) => existsSync(path))

describe('the inference runtime', () => {
  it.each(entries)('is not loaded with %s', (entry) => {
    const reached = reachableFrom(entry)

    expect(reached).not.toContain(worker)
    expect([...reached].filter((name) => name.startsWith('onnxruntime'))).toEqual([])
  })

  it('is loaded with the worker, by one file', () => {
    expect(reachableFrom(worker)).toContain('onnxruntime-node')
    const users = readdirSync(agent, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.startsWith('dist/') && !name.includes('node_modules'))
      .filter((name) => importsOf(join(agent, name)).some((specifier) => specifier.startsWith('onnxruntime')))
    expect(users).toEqual(['measure/ort-session.ts'])
  })
})
