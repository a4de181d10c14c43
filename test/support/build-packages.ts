import { execFileSync } from 'node:child_process'

/** The end-to-end tests run what a box would run: the compiled packages. */
export function setup(): void {
  execFileSync('npm', ['run', 'build'], { cwd: new URL('../..', import.meta.url), stdio: 'inherit' })
}
