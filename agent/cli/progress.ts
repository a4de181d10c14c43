import { clearLine, cursorTo } from 'node:readline'
import type { WriteStream } from 'node:tty'

/** Tells what goes on, on standard error: one line rewritten on a terminal, plain lines elsewhere, nothing with `--json`. */
export interface Progress {
  /** What is being done right now; replaced by the next. */
  step(text: string): void
  /** How far the step is, from 0 to 1: on a terminal only. */
  share(fraction: number): void
  /** A fact that stays. */
  line(text: string): void
  done(): void
}

export function createProgress(stream: NodeJS.WriteStream & Partial<WriteStream>, quiet: boolean): Progress {
  if (quiet) return { step: () => undefined, share: () => undefined, line: () => undefined, done: () => undefined }
  if (!stream.isTTY) {
    const write = (text: string) => stream.write(`${text}\n`)
    return { step: write, share: () => undefined, line: write, done: () => undefined }
  }
  const wipe = () => {
    clearLine(stream, 0)
    cursorTo(stream, 0)
  }
  let current = ''
  const show = (text: string) => {
    wipe()
    stream.write(`… ${text}`.slice(0, (stream.columns ?? 80) - 1))
  }
  return {
    step(text) {
      current = text
      show(text)
    },
    share: (fraction) => show(`${current}, ${Math.round(100 * fraction)} %`),
    line(text) {
      wipe()
      stream.write(`${text}\n`)
    },
    done: wipe,
  }
}
