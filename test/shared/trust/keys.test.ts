import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  exportSigningKey,
  generateSigningKey,
  importPublicKey,
  importSigningKey,
  keyFingerprint,
  loadOrCreateSigningKey,
  writePrivateFile,
} from '@edgefit/shared/trust'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-trust-'))
})
afterEach(() => rm(folder, { recursive: true }))

describe('signing keys', () => {
  it('survive export and import', () => {
    const key = generateSigningKey()

    const again = importSigningKey(exportSigningKey(key), 'device.pem')

    expect(again.publicKey).toBe(key.publicKey)
    expect(key.publicKey).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })

  it('have the fingerprint that openssl computes', () => {
    const key = generateSigningKey()
    const der = execFileSync('openssl', ['pkey', '-pubout', '-outform', 'DER'], { input: exportSigningKey(key) })
    const digest = execFileSync('openssl', ['dgst', '-sha256', '-r'], { input: der }).toString().slice(0, 64)

    expect(keyFingerprint(key.publicKey)).toBe(digest)
  })

  it('of another type are refused by name', () => {
    const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })

    expect(() => importSigningKey(String(pem), 'device.pem')).toThrow(/device\.pem: an Ed25519 key .* is ec/)
  })

  it.each(['', 'AAAA', 'not base64url!', `${'A'.repeat(42)}=`])('refuses %j as a public key', (text) => {
    expect(() => importPublicKey(text)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
  })
})

describe('a key file', () => {
  it('is made once, readable by its owner alone, and then reused', async () => {
    const path = join(folder, 'state', 'device.pem')

    const first = await loadOrCreateSigningKey(path)
    const second = await loadOrCreateSigningKey(path)

    expect(second.publicKey).toBe(first.publicKey)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(join(folder, 'state'))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(folder, 'state'))).toEqual(['device.pem'])
  })

  it('that is damaged is never silently replaced', async () => {
    const path = join(folder, 'device.pem')
    await writeFile(path, 'half a key')

    await expect(loadOrCreateSigningKey(path)).rejects.toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
    expect(await readFile(path, 'utf8')).toBe('half a key')
  })
})

describe('writePrivateFile', () => {
  it('replaces the whole content and narrows the mode', async () => {
    const path = join(folder, 'agent.json')
    await writeFile(path, 'a longer text than the next one', { mode: 0o644 })

    await writePrivateFile(path, 'short')

    expect(await readFile(path, 'utf8')).toBe('short')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('leaves nothing behind when it fails', async () => {
    await expect(writePrivateFile(folder, 'a folder is in the way')).rejects.toThrow()
    expect((await readdir(join(folder, '..'))).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})
