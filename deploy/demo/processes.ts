import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { fileURLToPath } from 'node:url'

const BINARIES = {
  edgefit: fileURLToPath(new URL('../../controller/dist/main.js', import.meta.url)),
  'edgefit-agent': fileURLToPath(new URL('../../agent/dist/main.js', import.meta.url)),
} as const
type Binary = keyof typeof BINARIES

const STOP_TIME_MS = 10_000

/** The processes of a demo: all of them end with it, whatever happens. */
export interface Processes {
  /** Starts a service, its output into `logPath`; resolves once the process is there. */
  start(binary: Binary, args: readonly string[], logPath: string): ChildProcess
  /** Runs a command to its end and returns what it wrote to standard output. Throws where it fails. */
  run(binary: Binary, args: readonly string[], errors?: 'shown' | 'quiet'): Promise<string>
  /** Runs a command whose output is for the person watching; returns its exit status. */
  show(binary: Binary, args: readonly string[]): Promise<number>
  /** Ends what was started: first politely, then not. */
  stop(): Promise<void>
}

export function createProcesses(): Processes {
  const running = new Set<ChildProcess>()
  const track = (child: ChildProcess): ChildProcess => {
    running.add(child)
    child.once('exit', () => running.delete(child))
    return child
  }
  const launch = (binary: Binary, args: readonly string[], stdio: ('inherit' | 'ignore' | 'pipe')[]) =>
    track(spawn(process.execPath, [BINARIES[binary], ...args], { stdio }))

  return {
    start(binary, args, logPath) {
      const child = launch(binary, args, ['ignore', 'pipe', 'pipe'])
      const log = createWriteStream(logPath)
      child.stdout?.pipe(log)
      child.stderr?.pipe(log)
      return child
    },
    async run(binary, args, errors = 'shown') {
      const child = launch(binary, args, ['ignore', 'pipe', errors === 'shown' ? 'inherit' : 'ignore'])
      let output = ''
      child.stdout?.on('data', (data: Buffer) => {
        output += data.toString()
      })
      const [status] = await once(child, 'close')
      if (status !== 0) throw new Error(`${binary} ${args.join(' ')} ended with status ${status}`)
      return output
    },
    async show(binary, args) {
      const [status] = await once(launch(binary, args, ['ignore', 'inherit', 'inherit']), 'exit')
      return Number(status ?? 1)
    },
    async stop() {
      const ends = [...running].map(async (child) => {
        const exited = once(child, 'exit')
        child.kill('SIGTERM')
        const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIME_MS)
        await exited
        clearTimeout(timer)
      })
      await Promise.all(ends)
    },
  }
}
