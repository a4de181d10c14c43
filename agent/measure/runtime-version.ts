import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { parseJsonWith } from '@edgefit/shared'
import * as z from 'zod'

/** Version of the installed onnxruntime-node, read from its package without loading it. */
export function runtimeVersion(): string {
  const path = createRequire(import.meta.url).resolve('onnxruntime-node/package.json')
  return parseJsonWith(z.object({ version: z.string() }), readFileSync(path, 'utf8'), path, 'INTERNAL').version
}
