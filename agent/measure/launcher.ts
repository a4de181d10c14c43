import { execFile } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { EdgefitError } from '@edgefit/shared'

const run = promisify(execFile)

export interface LaunchOptions {
  readonly lockPath: string
  readonly cpus?: string
  readonly workerEntry: URL
  readonly nodeCommand: readonly string[]
}

/**
 * The command line that starts a child: `setpriv`, `flock`, `taskset`, node, each replacing the one before, so that
 * they are one process and its pid is node's.
 *
 * - `setpriv --pdeathsig` has the kernel kill the child when this process dies, even inside a blocking run. Hosts
 *   without it rely on the closed channel, which the child sees between two runs.
 * - `flock --no-fork` waits for the lock and hands it down as an open file: the kernel frees it with the child.
 *
 * @throws EdgefitError CONFIG_INVALID when a needed tool or the lock file is not usable
 */
export async function launchCommand(options: LaunchOptions): Promise<readonly string[]> {
  const { lockPath, cpus } = options
  // util-linux's, known by its options: the flock of BusyBox has no --no-fork.
  if (!(await mentions('flock', '--no-fork'))) {
    throw new EdgefitError(
      "measuring needs the command flock of util-linux (2.32 or newer) on the agent's PATH: " +
        'install the package util-linux',
      { code: 'CONFIG_INVALID' },
    )
  }
  if (cpus !== undefined && !(await mentions('taskset', '--cpu-list'))) {
    throw new EdgefitError(
      `cpus: ${cpus} needs the command taskset of util-linux on the agent's PATH: install util-linux, or leave the ` +
        'CPUs to the service manager (AllowedCPUs=)',
      { code: 'CONFIG_INVALID' },
    )
  }
  openLockFile(lockPath)
  const bound = await mentions('setpriv', '--pdeathsig')
  return [
    ...(bound ? ['setpriv', '--pdeathsig', 'KILL'] : []),
    ...['flock', '--no-fork', '--exclusive', lockPath],
    ...(cpus === undefined ? [] : ['taskset', '--cpu-list', cpus]),
    ...options.nodeCommand,
    ...sourceArguments(options.workerEntry),
    fileURLToPath(options.workerEntry),
  ]
}

/** A worker in TypeScript is started as the tests start everything: from the sources of all workspaces. */
function sourceArguments(workerEntry: URL): readonly string[] {
  if (!workerEntry.pathname.endsWith('.ts')) return []
  const tsx = createRequire(import.meta.url).resolve('tsx')
  return ['--conditions=source', '--import', pathToFileURL(tsx).href]
}

async function mentions(program: string, option: string): Promise<boolean> {
  try {
    const { stdout } = await run(program, ['--help'], { timeout: 10_000 })
    return stdout.includes(option)
  } catch {
    return false
  }
}

function openLockFile(lockPath: string): void {
  try {
    // As flock opens it: reading is enough, so agents of several users can share the file.
    closeSync(openSync(lockPath, constants.O_RDONLY | constants.O_CREAT, 0o666))
  } catch (cause) {
    throw new EdgefitError(
      `lockPath: cannot open ${lockPath}: name a file that every agent on this host can read, in a ` +
        'directory where they may make it',
      { code: 'CONFIG_INVALID', cause },
    )
  }
}
