import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Profile } from '@edgefit/shared/model'
import { afterEach, beforeEach, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-pack-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

it('installs the agent alone into an empty folder, where it profiles the box', async () => {
  const npm = (cwd: string, ...args: string[]) =>
    execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  npm(root, 'pack', '--pack-destination', folder, '-w', 'shared', '-w', 'agent')
  const tarballs = (await readdir(folder)).filter((name) => name.endsWith('.tgz')).map((name) => `./${name}`)
  // As the README tells whoever installs on linux/x64.
  await writeFile(join(folder, '.npmrc'), 'onnxruntime-node-install=skip\n')
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ private: true, allowScripts: { 'better-sqlite3': true, 'onnxruntime-node': true } }),
  )

  npm(folder, 'install', '--no-audit', '--no-fund', ...tarballs)
  const profile = execFileSync('npx', ['--no-install', 'edgefit-agent', 'profile', '--json'], {
    cwd: folder,
    encoding: 'utf8',
  })

  expect(Profile.parse(JSON.parse(profile)).cpu.architecture).toBe(process.arch)
  const installed = await readdir(join(folder, 'node_modules'))
  expect(installed).not.toContain('typescript')
  expect(installed).not.toContain('aedes')
  expect(installed).not.toContain('sharp')
})
