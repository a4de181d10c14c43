/** What the kernels of emulated ARM CPUs make of a variant, against those of this machine on the same samples. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { EMULATED_CPUS, type EmulatedCpu, isPrepared, jobRunner } from '../arm64/emulation.ts'
import { buildOn, disagreement, staticInt8, top1, unpacked, verdictsOn } from '../arm64/variants.ts'
import { type BenchModel, benchModels } from './models.ts'

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: '' },
      cpus: { type: 'string', default: EMULATED_CPUS.join(',') },
      files: { type: 'string', default: 'fp32,S8S8,U8S8,calibrated' },
      samples: { type: 'string', default: '9000' },
    },
  })
  if (!isPrepared) throw new Error('no emulator: run test/arm64/setup.sh first')
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-arm64-'))
  const cpus = EMULATED_CPUS.filter((cpu) => values.cpus.split(',').includes(cpu))
  try {
    for (const model of benchModels().filter(({ name, labelled }) => labelled && name.includes(values.only))) {
      const options = { cpus, files: values.files.split(','), samples: Number(values.samples) }
      await compare(model, options, join(folder, model.name.replaceAll(' ', '-')))
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Options {
  readonly cpus: readonly EmulatedCpu[]
  readonly files: readonly string[]
  readonly samples: number
}

async function compare(model: BenchModel, options: Options, folder: string): Promise<void> {
  await mkdir(folder)
  const lock = join(folder, 'lock')
  const subject = await unpacked(model, folder)
  const count = Math.min(options.samples, subject.split.evaluation)
  const here = await jobRunner(undefined, lock)
  const [s8s8, u8s8] = [staticInt8('arm64', 300), staticInt8('x64', 300)]
  const builtHere = await buildOn(here, subject, s8s8, 'S8S8')
  const files = [
    { name: 'fp32', path: subject.sourcePath },
    { name: 'S8S8', path: builtHere.path },
    { name: 'U8S8', path: (await buildOn(here, subject, u8s8, 'U8S8')).path },
  ].filter(({ name }) => options.files.includes(name))
  const expected = new Map<string, Awaited<ReturnType<typeof verdictsOn>>>()
  for (const { name, path } of files) {
    const verdicts = await verdictsOn(here, subject, path, countOf(name, count))
    expected.set(name, verdicts)
    print({ model: model.name, cpu: 'x64', file: name, count: verdicts.count, top1: top1(verdicts).toFixed(2) })
  }
  for (const cpu of options.cpus) {
    const there = await jobRunner(cpu, lock)
    const again = await buildOn(there, subject, builtHere.resolvedRecipe, `S8S8-${cpu}-resolved`)
    print({
      model: model.name,
      cpu,
      sameBytes: again.digest === builtHere.digest,
      executes: again.passes.at(-1)?.notes,
    })
    const calibrated = options.files.includes('calibrated')
      ? [{ name: 'calibrated', path: (await buildOn(there, subject, s8s8, `S8S8-${cpu}`)).path }]
      : []
    for (const { name, path } of [...files, ...calibrated]) {
      const sinceMs = performance.now()
      const verdicts = await verdictsOn(there, subject, path, countOf(name, count))
      const baseline = expected.get(name === 'calibrated' ? 'S8S8' : name)
      print({
        model: model.name,
        cpu,
        file: name,
        top1: top1(verdicts).toFixed(2),
        ...(baseline && disagreement(baseline, verdicts)),
        seconds: Math.round((performance.now() - sinceMs) / 1000),
      })
    }
  }
}

/** Emulated floating-point numbers take ten times as long as integers. */
const FP32_SAMPLES = 500

function countOf(file: string, count: number): number {
  return file === 'fp32' ? Math.min(FP32_SAMPLES, count) : count
}

function print(line: object): void {
  console.log(JSON.stringify(line))
}
