import { readFileSync } from 'node:fs'

/** Version of the installed agent package. Beside this file in the sources, one folder up in the build. */
export const AGENT_VERSION: string = readVersion()

function readVersion(): string {
  const here = import.meta.url.endsWith('.ts') ? './package.json' : '../package.json'
  const { version } = JSON.parse(readFileSync(new URL(here, import.meta.url), 'utf8')) as { version: string }
  return version
}
