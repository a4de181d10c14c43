import { clearLine, cursorTo } from 'node:readline'
import type { CliIo } from './io.ts'

/** On standard error: a bar on a terminal, a line per tenth elsewhere, nothing with `--json`. */
export interface ProgressBar {
  update(done: number, total: number): void
  end(): void
}

const CELLS = 24
const REDRAW_MS = 100

export function createProgressBar({ stderr, now }: CliIo, what: string, quiet: boolean): ProgressBar {
  if (quiet) return { update: () => undefined, end: () => undefined }
  if (!stderr.isTTY) return plainProgress(stderr, what)
  let drawnAtMs = Number.NEGATIVE_INFINITY
  const wipe = () => {
    clearLine(stderr, 0)
    cursorTo(stderr, 0)
  }
  return {
    update(done, total) {
      if (done < total && now() - drawnAtMs < REDRAW_MS) return
      drawnAtMs = now()
      const filled = Math.round((done / Math.max(1, total)) * CELLS)
      wipe()
      stderr.write(`${what} ${'█'.repeat(filled)}${'░'.repeat(CELLS - filled)} ${percent(done, total)}`)
    },
    end: wipe,
  }
}

function plainProgress(stderr: NodeJS.WriteStream, what: string): ProgressBar {
  let tenth = -1
  return {
    update(done, total) {
      const reached = Math.floor((done / Math.max(1, total)) * 10)
      if (reached === tenth) return
      tenth = reached
      stderr.write(`${what} ${percent(done, total)}\n`)
    },
    end: () => undefined,
  }
}

function percent(done: number, total: number): string {
  return `${Math.floor((done / Math.max(1, total)) * 100)} %`
}
