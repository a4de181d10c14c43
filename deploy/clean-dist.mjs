// tsc --build never removes old output: a deleted source would live on in dist and in the package.
import { rmSync } from 'node:fs'

for (const workspace of ['shared', 'agent', 'controller']) {
  rmSync(new URL(`../${workspace}/dist`, import.meta.url), { recursive: true, force: true })
}
