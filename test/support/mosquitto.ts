import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { connectAsync } from 'mqtt'
import { onTestFinished } from 'vitest'
import { type Certificates, certificateAuthority, until } from './link.ts'

const PROGRAM = '/usr/sbin/mosquitto'
const CONFIGURATION = fileURLToPath(new URL('../../deploy/broker/', import.meta.url))
export const CONTROLLER_USER = { username: 'edgefit-controller', password: 'controller-password' }

export const hasMosquitto = existsSync(PROGRAM)

export interface SecureMosquitto {
  readonly authority: Certificates
  /** Listener for passwords. */
  readonly url: string
  /** Listener for client certificates. */
  readonly certificateUrl: string
  setPassword(user: string, password: string): Promise<void>
  restart(): Promise<void>
}

/** Mosquitto with the shipped configuration and access list; only paths and ports are replaced. */
export async function startSecureMosquitto(folder: string): Promise<SecureMosquitto> {
  const authority = await certificateAuthority(folder)
  const { certFile, keyFile } = authority.issue('broker')
  const [port, certificatePort] = [await freePort(), await freePort()]
  const url = `mqtts://127.0.0.1:${port}`
  const path = (name: string): string => join(folder, name)
  await Promise.all([
    copyFile(join(CONFIGURATION, 'mosquitto.acl'), path('mosquitto.acl')),
    copyFile(authority.caFile, path('devices-ca.pem')),
    certFile === path('broker.pem') ? undefined : copyFile(certFile, path('broker.pem')),
    keyFile === path('broker.key') ? undefined : copyFile(keyFile, path('broker.key')),
    writeFile(path('passwords'), '', { mode: 0o600 }),
  ])
  const configuration = (await readFile(join(CONFIGURATION, 'mosquitto.conf'), 'utf8'))
    .replaceAll('/etc/mosquitto/edgefit/', `${folder}/`)
    .replace('listener 8883', `listener ${port} 127.0.0.1`)
    .replace('listener 8884', `listener ${certificatePort} 127.0.0.1`)
  // Started by root, it would otherwise become a user who may not read the folder.
  await writeFile(path('mosquitto.conf'), `${configuration}\nuser root\n`)

  let broker = spawnBroker()
  onTestFinished(() => stop())

  function spawnBroker() {
    return spawn(PROGRAM, ['-c', path('mosquitto.conf')], { stdio: 'ignore' })
  }

  async function stop(): Promise<void> {
    if (broker.exitCode !== null || broker.signalCode !== null) return
    broker.kill()
    await once(broker, 'exit')
  }

  async function setPassword(user: string, password: string): Promise<void> {
    execFileSync('mosquitto_passwd', ['-b', path('passwords'), user, password], { stdio: 'ignore' })
    // A signal that comes while Mosquitto reads its files is lost, and only a sign-in shows that it has read them.
    await until(() => {
      broker.kill('SIGHUP')
      return letsIn(user, password)
    }, `Mosquitto knows ${user}`)
  }

  async function letsIn(username: string, password: string): Promise<boolean> {
    try {
      const client = await connectAsync(url, { username, password, ca: authority.ca, reconnectPeriod: 0 }, false)
      await client.endAsync(true)
      return true
    } catch {
      return false
    }
  }

  await untilServing(port)
  await setPassword(CONTROLLER_USER.username, CONTROLLER_USER.password)
  return {
    authority,
    url,
    certificateUrl: `mqtts://127.0.0.1:${certificatePort}`,
    setPassword,
    async restart() {
      await stop()
      broker = spawnBroker()
      await untilServing(port)
    },
  }
}

/** Mosquitto listens before it handles signals: until it answers a handshake, one would end it. */
async function untilServing(port: number): Promise<void> {
  await until(async () => {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
    const isServed = await once(socket, 'secureConnect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    return isServed
  }, 'Mosquitto serves')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  await new Promise((closed) => server.close(closed))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
