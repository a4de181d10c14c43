/** One step of training against PyTorch: the same network, batch, optimizer and loss, one thread each, by turns. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { median } from '@edgefit/shared/stats'
import { FASHION_MNIST } from '../../../deploy/demo/fashion-mnist.ts'
import { pythonWithTorch } from '../peers/torch.ts'
import { writeTrainJob } from './job.ts'

const SHARED = new URL('../../../../shared/models/', import.meta.url)
const NETWORKS = [
  { name: 'fashion_resnet14', modelPath: fileURLToPath(FASHION_MNIST.resNet), batch: 32 },
  { name: 'fashion_mobilenetv2', modelPath: fileURLToPath(FASHION_MNIST.mobileNet), batch: 32 },
  { name: 'MobileNetV1-0.25 96x96', modelPath: fileURLToPath(new URL('mlperf_vww/model.onnx', SHARED)), batch: 8 },
]
const OUR_SCRIPT = fileURLToPath(new URL('./step-child.ts', import.meta.url))
const THEIR_SCRIPT = fileURLToPath(new URL('../peers/train_step.py', import.meta.url))
const LAYOUTS = ['contiguous', 'channels_last'] as const
const WARM_UP_STEPS = 3
const STEPS_A_TURN = 5

/** Answer of a trainer to a turn. */
interface Turn {
  readonly wallMs: readonly number[]
  readonly cpuMs: readonly number[]
  readonly loss: number
  /** Kept of the way forward for the way back, beside weights and samples. */
  readonly savedMib: number
  readonly peakMib: number
}

export interface Trainer {
  readonly name: string
  /** Of the program when it has read its job. */
  readonly loadedMib: number
  turn(steps: number): Promise<Turn>
  stop(): Promise<void>
}

interface Row {
  readonly network: string
  readonly batch: number
  readonly trainer: string
  /** Median over turns of a turn's median step, of the clock and of the processor. */
  readonly wallMs: number
  readonly cpuMs: number
  /** Median over turns of our step over this one's, in processor time, which other load disturbs less. */
  readonly ratio: number
  readonly peakMib: number
  /** What of the peak came with the first step. */
  readonly trainingMib: number
  readonly savedMib: number
  /** After the same number of steps: equal but for rounding. */
  readonly loss: number
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      only: { type: 'string' },
      python: { type: 'string' },
      turns: { type: 'string', default: '12' },
    },
  })
  const python = await pythonWithTorch(values.python)
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-train-'))
  try {
    const rows: Row[] = []
    for (const { name, modelPath, batch } of NETWORKS) {
      if (values.only !== undefined && !name.includes(values.only)) continue
      if (!existsSync(modelPath)) {
        process.stderr.write(`skipped ${name}: ${modelPath} is not there\n`)
        continue
      }
      process.stderr.write(`${name}\n`)
      const job = join(folder, name.replaceAll(' ', '-'))
      await writeTrainJob(job, modelPath, batch)
      const trainers = await startAll(job, python)
      try {
        rows.push(...(await compare(trainers, Number(values.turns))).map((row) => ({ network: name, batch, ...row })))
      } finally {
        await Promise.all(trainers.map((trainer) => trainer.stop()))
      }
    }
    console.log(values.json ? JSON.stringify(rows, null, 2) : table(rows))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Ours first. */
async function startAll(job: string, python: string | undefined): Promise<readonly Trainer[]> {
  const ours = await startTrainer('Edgefit', process.execPath, [...process.execArgv, OUR_SCRIPT, job])
  if (python === undefined) return [ours]
  const theirs: Trainer[] = []
  for (const layout of LAYOUTS) {
    theirs.push(await startTrainer(`PyTorch ${layout}`, python, [THEIR_SCRIPT, job, layout]))
  }
  return [ours, ...theirs]
}

/** A program that answers each line `steps` with a line of JSON, after a first line when it is ready. */
export async function startTrainer(name: string, command: string, args: readonly string[]): Promise<Trainer> {
  const child: ChildProcess = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.stdin === null || child.stdout === null) throw new RangeError('a child without pipes')
  const { stdin } = child
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  async function line(): Promise<string> {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`${name} ended early`)
    return value
  }
  const loaded: Pick<Turn, 'peakMib'> = JSON.parse(await line())
  return {
    name,
    loadedMib: loaded.peakMib,
    async turn(steps) {
      stdin.write(`${steps}\n`)
      return JSON.parse(await line())
    },
    async stop() {
      stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

async function compare(
  trainers: readonly Trainer[],
  turns: number,
): Promise<readonly Omit<Row, 'network' | 'batch'>[]> {
  const taken = trainers.map((trainer) => ({ trainer, turns: [] as Turn[] }))
  for (const { trainer } of taken) await trainer.turn(WARM_UP_STEPS)
  for (let turn = 0; turn < turns; turn++) {
    for (const one of taken) one.turns.push(await one.trainer.turn(STEPS_A_TURN))
  }
  const [ours] = taken
  return taken.map(({ trainer, turns }) => ({
    trainer: trainer.name,
    wallMs: median(turns.map(({ wallMs }) => median(wallMs))),
    cpuMs: median(turns.map(({ cpuMs }) => median(cpuMs))),
    ratio: median(turns.map(({ cpuMs }, at) => median(ours?.turns[at]?.cpuMs ?? []) / median(cpuMs))),
    peakMib: turns.at(-1)?.peakMib ?? Number.NaN,
    trainingMib: (turns.at(-1)?.peakMib ?? Number.NaN) - trainer.loadedMib,
    savedMib: turns.at(-1)?.savedMib ?? Number.NaN,
    loss: turns.at(-1)?.loss ?? Number.NaN,
  }))
}

function table(rows: readonly Row[]): string {
  const header = [
    'network',
    'batch',
    'trainer',
    'step, ms',
    'of the processor, ms',
    'ours / this',
    'peak RSS, MiB',
    'of it by training',
    'saved values',
    'loss',
  ]
  const body = rows.map(({ network, batch, trainer, wallMs, cpuMs, ratio, peakMib, trainingMib, savedMib, loss }) => [
    network,
    String(batch),
    trainer,
    wallMs.toFixed(1),
    cpuMs.toFixed(1),
    ratio.toFixed(2),
    peakMib.toFixed(0),
    trainingMib.toFixed(0),
    savedMib.toFixed(1),
    loss.toFixed(4),
  ])
  return [header, header.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
