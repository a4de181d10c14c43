import { execFile, spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { runtimeVersion } from '../../../agent/measure/runtime-version.ts'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('./quantize_reference.py', import.meta.url))
const INSTALL_TIMEOUT_MS = 10 * 60_000

/** As `quantize_reference.py` takes it. */
export interface ReferenceJob {
  readonly model: string
  /** An .npz of calibration samples by input name. */
  readonly samples: string
  readonly out: string
  readonly method: 'minmax' | 'percentile' | 'entropy' | 'dynamic'
  readonly practice: 'documented' | 'defaults'
}

interface ReferenceCost {
  /** Without the start of Python and its imports. */
  readonly wallMs: number
  /** Of the whole process so far. */
  readonly peakRssBytes: number
}

/** `onnxruntime.quantization`, of the same version as the runtime here. */
export interface ReferenceTool {
  /** One process for all jobs, one after the other. Rejects where one fails. */
  quantize(jobs: readonly ReferenceJob[]): Promise<readonly ReferenceCost[]>
}

/**
 * With the interpreter at `python`, or one of its own in a folder for temporary files, made where there is none yet.
 * `undefined`, and the reason on stderr, where there is no Python or it cannot get its packages.
 */
export async function referenceTool(python: string | undefined, lockPath: string): Promise<ReferenceTool | undefined> {
  const version = runtimeVersion()
  try {
    const interpreter = python ?? (await ownInterpreter(version))
    const { stdout } = await run(interpreter, ['-c', 'import onnx, onnxruntime; print(onnxruntime.__version__)'])
    if (stdout.trim() !== version) throw new Error(`its onnxruntime is ${stdout.trim()}, not ${version}`)
    return { quantize: (jobs) => quantize(interpreter, lockPath, jobs) }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    process.stderr.write(
      `skipped the reference tool: ${reason}\nname an interpreter that has onnx and onnxruntime ${version}: --python PATH\n`,
    )
    return undefined
  }
}

async function ownInterpreter(version: string): Promise<string> {
  const folder = join(tmpdir(), `edgefit-bench-python-${version}`)
  const python = join(folder, 'bin', 'python')
  const isReady = await run(python, ['-c', 'import onnx, onnxruntime, sympy']).then(
    () => true,
    () => false,
  )
  if (isReady) return python
  process.stderr.write(`installing onnxruntime ${version} for Python in ${folder}\n`)
  await rm(folder, { recursive: true, force: true })
  const options = { timeout: INSTALL_TIMEOUT_MS }
  await run('python3', ['-m', 'venv', folder], options)
  const packages = [`onnxruntime==${version}`, 'onnx', 'numpy', 'sympy']
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages], options)
  return python
}

/** Under the lock of the agent's children, so that no measurement on this host runs beside it. */
async function quantize(
  python: string,
  lockPath: string,
  jobs: readonly ReferenceJob[],
): Promise<readonly ReferenceCost[]> {
  const [program, ...args] = ['flock', '--no-fork', '--exclusive', lockPath, python, SCRIPT] as const
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const outputs = Promise.all([text(child.stdout), text(child.stderr)])
  child.stdin.end(JSON.stringify(jobs))
  const [stdout, stderr] = await outputs
  const lines = stdout.split('\n').filter((line) => line.startsWith('{"'))
  if (lines.length !== jobs.length) throw new Error(`the reference tool ended early: ${stderr.slice(-2000)}`)
  return lines.map((line) => {
    const answer: ReferenceCost | { readonly error: string } = JSON.parse(line)
    if ('error' in answer) throw new Error(`the reference tool: ${answer.error}`)
    return answer
  })
}
