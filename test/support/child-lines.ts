import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A TypeScript program in a process of its own that speaks lines of JSON. */
export interface LineChild<Line> {
  /** The next line; `undefined` when the process has ended. */
  next(): Promise<Line | undefined>
  /** Sends an empty line. */
  go(): void
  kill(): void
  readonly ended: Promise<void>
}

/** `program` is a URL relative to this folder; its only argument is `task` as JSON. */
export function startLineChild<Line>(program: string, task: unknown): LineChild<Line> {
  const path = fileURLToPath(new URL(program, import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', '--conditions=source', path, JSON.stringify(task)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async next() {
      const { value, done } = await lines.next()
      return done === true ? undefined : (JSON.parse(value) as Line)
    },
    go: () => {
      child.stdin.write('\n')
    },
    kill: () => {
      child.kill('SIGKILL')
    },
    ended,
  }
}
