import { execFileSync } from 'node:child_process'
import { isPrepared } from './emulation.ts'

/** What is built already, for the end-to-end tests too, stays. */
export function setup(): void {
  if (isPrepared) execFileSync('npx', ['tsc', '--build'], { cwd: new URL('../..', import.meta.url), stdio: 'inherit' })
  else process.stderr.write('tests on emulated ARM are skipped: test/arm64/setup.sh prepares them\n')
}
