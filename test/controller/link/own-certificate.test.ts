import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import tls from 'node:tls'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ownCertificate } from '../../../controller/link/own-certificate.ts'
import { temporaryFolder } from '../../support/link.ts'

const hosts = ['fleet.example', 'localhost', '127.0.0.1', '::1', 'fd00::a:0:1', '2001:db8:1:2:3:4:5:6']

describe('ownCertificate', () => {
  it('passes the strict checks of openssl, for every host it was made for and no other', async () => {
    const folder = await temporaryFolder()
    const { ca, cert } = await ownCertificate(folder, hosts, Date.now())
    await writeFile(join(folder, 'ca'), ca)
    await writeFile(join(folder, 'cert'), cert)
    const verify = (...check: string[]) =>
      execFileSync(
        'openssl',
        [
          'verify',
          '-x509_strict',
          '-purpose',
          'sslserver',
          '-CAfile',
          join(folder, 'ca'),
          ...check,
          join(folder, 'cert'),
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      ).toString()

    for (const host of hosts)
      expect(verify(/[:\d]$/.test(host) ? '-verify_ip' : '-verify_hostname', host)).toMatch(/OK/)
    expect(() => verify('-verify_hostname', 'other.example')).toThrow(/mismatch/)
    expect(() => verify('-verify_ip', '127.0.0.2')).toThrow(/mismatch/)
  })

  it('keeps its authority, whose file only the owner may read, and renews the rest', async () => {
    const folder = await temporaryFolder()

    const first = await ownCertificate(folder, hosts, Date.now())
    const second = await ownCertificate(folder, ['new.example'], Date.now())

    expect(second.ca).toBe(first.ca)
    expect(second.cert).not.toBe(first.cert)
    expect(new X509Certificate(second.cert).verify(new X509Certificate(first.ca).publicKey)).toBe(true)
    expect(new X509Certificate(second.cert).subjectAltName).toBe('DNS:new.example')
    expect((await stat(join(folder, 'broker-ca.pem'))).mode & 0o777).toBe(0o600)
  })

  it('holds for years, also for a device whose clock is behind', async () => {
    const nowMs = Date.UTC(2031, 5, 1)
    const { ca, cert } = await ownCertificate(await temporaryFolder(), hosts, nowMs)

    for (const pem of [ca, cert]) {
      const { validFrom, validTo } = new X509Certificate(pem)
      expect(Date.parse(validFrom)).toBe(nowMs - 86_400_000)
      expect(new Date(validTo).getUTCFullYear()).toBe(2051)
    }
  })

  it('serves TLS', async () => {
    const { ca, cert, key } = await ownCertificate(await temporaryFolder(), ['localhost'], Date.now())
    const server = tls.createServer({ cert, key }, (socket) => socket.end('hello'))
    onTestFinished(() => void server.close())
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const address = server.address()
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0

    const socket = tls.connect({ host: '127.0.0.1', servername: 'localhost', port, ca })
    const text = await new Promise<string>((resolve, reject) => {
      socket.once('data', (data) => resolve(String(data)))
      socket.once('error', reject)
    })

    expect(text).toBe('hello')
    expect(socket.authorized).toBe(true)
  })
})
