import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const CONTROLLER = fileURLToPath(new URL('../../controller/dist/main.js', import.meta.url))
export const AGENT = fileURLToPath(new URL('../../agent/dist/main.js', import.meta.url))
const NODE: readonly string[] = [process.execPath]
export const MOSQUITTO = '/usr/sbin/mosquitto'

export interface CliResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** A fleet of real processes in a temporary folder: what an operator would start by hand. */
export interface Fleet {
  readonly folder: string
  readonly dataDir: string
  startController(args?: readonly string[]): Promise<void>
  killController(): Promise<void>
  /** Runs `edgefit` to its end. */
  edgefit(...args: string[]): Promise<CliResult>
  /** Runs `edgefit … --json`, expects success. */
  json<Value>(...args: string[]): Promise<Value>
  /** Rolls model `model` with dataset `data` out; `args` say to whom and what for. Returns the rollout's id. */
  createRollout(...args: string[]): Promise<string>
  /** Enrols a box and accepts it; returns its device id. */
  enrol(name: string, stateDir?: string): Promise<string>
  startAgent(name: string, args?: readonly string[]): ChildProcess
  killAgent(name: string, signal?: NodeJS.Signals): Promise<void>
  stateDir(name: string): string
  /** What a process has logged so far. */
  log(name: string): Promise<string>
  stop(): Promise<void>
}

/** @param agentNode starts node for the agents */
export async function createFleet(agentNode = NODE): Promise<Fleet> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-fleet-'))
  const dataDir = join(folder, 'controller')
  const mqttPort = await freePort()
  const children = new Map<string, ChildProcess>()

  const start = (name: string, entry: string, args: readonly string[], node = NODE): ChildProcess => {
    const [program = '', ...options] = node
    const child = spawn(program, [...options, entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const keep = (data: Buffer) => appendFileSync(join(folder, `${name}.log`), data)
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    children.set(name, child)
    return child
  }
  const kill = async (name: string, signal: NodeJS.Signals) => {
    const child = children.get(name)
    children.delete(name)
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  const fleet: Fleet = {
    folder,
    dataDir,
    stateDir: (name) => join(folder, name),
    log: (name) => readFile(join(folder, `${name}.log`), 'utf8'),
    async startController(args = []) {
      const child = start('controller', CONTROLLER, [
        'controller',
        'start',
        '--data-dir',
        dataDir,
        ...(args.includes('--broker') ? [] : ['--mqtt-port', String(mqttPort)]),
        ...args,
      ])
      await eventually('the controller answers', async () => {
        if (child.exitCode !== null) throw new Error(`the controller ended: ${await fleet.log('controller')}`)
        return (
          (await fleet.edgefit('device', 'list', '--json')).status === 0 && existsSync(join(dataDir, 'controller.sock'))
        )
      })
    },
    killController: () => kill('controller', 'SIGKILL'),
    edgefit: (...args) => command(CONTROLLER, [...args, '--data-dir', dataDir]),
    async json<Value>(...args: string[]) {
      const { status, stdout, stderr } = await fleet.edgefit(...args, '--json')
      if (status !== 0) throw new Error(`edgefit ${args.join(' ')} ended with ${status}: ${stderr}${stdout}`)
      return JSON.parse(stdout) as Value
    },
    async createRollout(...args) {
      const goal = ['--model', 'model', '--data', 'data', ...args]
      const { rollout } = await fleet.json<{ rollout: { id: string } }>('rollout', 'create', ...goal)
      return rollout.id
    },
    async enrol(name, stateDir = join(folder, name)) {
      const { token } = await fleet.json<{ token: string }>('device', 'token')
      const args = ['enrol', '--token', token, '--state', stateDir, '--name', name, '--label', 'site=lab', '--json']
      const enrolled = await command(AGENT, args, agentNode, 300_000)
      if (enrolled.status !== 0) throw new Error(`enrol ended with ${enrolled.status}: ${enrolled.stderr}`)
      const { deviceId } = JSON.parse(enrolled.stdout) as { deviceId: string }
      await fleet.json('device', 'accept', deviceId)
      return deviceId
    },
    startAgent(name, args = []) {
      const own = ['run', '--state', join(folder, name), '--lock', join(folder, 'lock'), '--max-threads', '1']
      return start(name, AGENT, [...own, ...args], agentNode)
    },
    killAgent: (name, signal = 'SIGKILL') => kill(name, signal),
    async stop() {
      for (const name of [...children.keys()]) await kill(name, 'SIGTERM')
      await rm(folder, { recursive: true, force: true })
    },
  }
  return fleet
}

export function command(entry: string, args: readonly string[], node = NODE, timeoutMs = 120_000): Promise<CliResult> {
  const [program = '', ...options] = node
  return new Promise((resolve) => {
    execFile(
      program,
      [...options, entry, ...args],
      { maxBuffer: 64 * 2 ** 20, timeout: timeoutMs },
      (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr })
      },
    )
  })
}

export const agentCommand = (...args: string[]) => command(AGENT, args)

/** Polls until `check` is true; the last failure is the error's cause. */
export async function eventually(what: string, check: () => Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const until = Date.now() + timeoutMs
  let cause: unknown
  while (Date.now() < until) {
    try {
      if (await check()) return
    } catch (error) {
      cause = error
    }
    await sleep(200)
  }
  throw new Error(`waited in vain until ${what}`, { cause })
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

export interface Mosquitto {
  readonly url: string
  /** Forgets everything, as a restarted broker without persistence does. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** A Mosquitto of its own on a free port. */
export async function startMosquitto(folder: string): Promise<Mosquitto> {
  const port = await freePort()
  const config = join(folder, 'mosquitto.conf')
  await writeFile(config, `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`)
  let process: ChildProcess | undefined
  const broker: Mosquitto = {
    url: `mqtt://127.0.0.1:${port}`,
    async stop() {
      if (process === undefined || process.exitCode !== null) return
      const exited = once(process, 'exit')
      process.kill()
      await exited
    },
    async start() {
      process = spawn(MOSQUITTO, ['-c', config], { stdio: 'ignore' })
      await eventually('Mosquitto listens', () => listens(port), 20_000)
    },
  }
  await broker.start()
  return broker
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
