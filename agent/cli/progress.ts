import { clearLine, cursorTo } from 'node:readline'
import type { WriteStream } from 'node:tty'

/** Tells what goes on, on standard error: one line rewritten on a terminal, plain lines elsewhere, nothing with `--json`. */
export interface Progress {
  /** What is being done right now; replaced by the next. */
  step(text: string): void
  /** How far the step is, from 0 to 1: on a terminal only. */
  share(fraction: number): void
  /** Where the step stands, in words: on a terminal in the place of its name, elsewhere a line now and then. */
  detail(text: string): void
  /** A fact that stays. */
  line(text: string): void
  done(): void
}

const DETAIL_EVERY_MS = 20_000

export function createProgress(
  stream: NodeJS.WriteStream & Partial<WriteStream>,
  quiet: boolean,
  monotonicNow: () => number,
): Progress {
  const nothing = (): void => undefined
  if (quiet) return { step: nothing, share: nothing, detail: nothing, line: nothing, done: nothing }
  if (!stream.isTTY) {
    const write = (text: string) => stream.write(`${text}\n`)
    let dueMs = monotonicNow() + DETAIL_EVERY_MS
    const detail = (text: string): void => {
      const nowMs = monotonicNow()
      if (nowMs < dueMs) return
      dueMs = nowMs + DETAIL_EVERY_MS
      write(text)
    }
    return { step: write, share: nothing, detail, line: write, done: nothing }
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
    detail: show,
    share: (fraction) => show(`${current}, ${Math.round(100 * fraction)} %`),
    line(text) {
      wipe()
      stream.write(`${text}\n`)
    },
    done: wipe,
  }
}
