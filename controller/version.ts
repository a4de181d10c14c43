import { readFileSync } from 'node:fs'
import { parseJsonWith } from '@edgefit/shared'
import * as z from 'zod'

/** Version of the installed controller package. */
export const CONTROLLER_VERSION: string = readVersion()

function readVersion(): string {
  // Beside this file in the sources, one folder up in the build.
  const url = new URL(import.meta.url.endsWith('.ts') ? './package.json' : '../package.json', import.meta.url)
  return parseJsonWith(z.object({ version: z.string() }), readFileSync(url, 'utf8'), url.pathname, 'INTERNAL').version
}
