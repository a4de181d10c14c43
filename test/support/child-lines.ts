import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A TypeScript program in a process of its own that speaks lines of JSON. */
export interface LineChild<Line> {
  /** Each line is given once. */
  readonly lines: AsyncIterable<Line>
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
  async function* lines(): AsyncIterable<Line> {
    for await (const text of createInterface({ input: child.stdout })) yield JSON.parse(text) as Line
  }
  return {
    lines: lines(),
    go: () => {
      child.stdin.write('\n')
    },
    kill: () => {
      child.kill('SIGKILL')
    },
    ended,
  }
}
