import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ControllerDatabase } from './schema.ts'

type Work<Result> = (trx: ControllerDatabase) => Promise<Result>

export interface CommitQueue {
  /**
   * Runs `work` in a transaction that it may share with others, and resolves once that is on disk. Work begins in the
   * order in which it was given. It may be run twice, and so touches nothing but the database.
   */
  run<Result>(work: Work<Result>): Promise<Result>
  /** Resolves when nothing is waiting any more. */
  drain(): Promise<void>
}

const WORKS_PER_COMMIT = 64

interface Waiting {
  /** Runs the work, and keeps what it gives. */
  readonly work: Work<void>
  /** Hands on what the work gave: it is on disk. */
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * Invariants: what arrives in one turn of the event loop, or while a commit is under way, shares the next, so a fleet that speaks all at once costs
 * few fsyncs; a work that fails takes no other with it; the event loop turns between commits.
 */
export function createCommitQueue(db: ControllerDatabase): CommitQueue {
  const waiting: Waiting[] = []
  let running: Promise<void> | undefined

  async function runAll(): Promise<void> {
    while (waiting.length > 0) {
      await nextTurn()
      const works = waiting.splice(0, WORKS_PER_COMMIT)
      try {
        await commit(works)
        for (const { resolve } of works) resolve()
      } catch {
        for (const each of works) await commitAlone(each)
      }
    }
    running = undefined
  }

  async function commitAlone(each: Waiting): Promise<void> {
    try {
      await commit([each])
      each.resolve()
    } catch (error) {
      each.reject(error)
    }
  }

  async function commit(works: readonly Waiting[]): Promise<void> {
    await db.transaction().execute(async (trx) => {
      for (const { work } of works) await work(trx)
    })
  }

  return {
    run<Result>(work: Work<Result>) {
      return new Promise<Result>((resolve, reject) => {
        let give = () => {}
        waiting.push({
          async work(trx) {
            const result = await work(trx)
            give = () => resolve(result)
          },
          resolve: () => give(),
          reject,
        })
        running ??= runAll()
      })
    },
    async drain() {
      while (running !== undefined) await running
    },
  }
}
