import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { unpackNpz } from '@edgefit/shared/dataset'
import type { Pass, Recipe, RuntimeSettings, SplitSpec } from '@edgefit/shared/model'
import { addSqnr, EMPTY_SQNR, sqnrDb } from '@edgefit/shared/stats'
import { quantizationFlavours } from '../../agent/compress/index.ts'
import type { JobOf, JobValue } from '../../agent/measure/jobs.ts'
import { readReference } from '../../agent/measure/reference.ts'
import type { JobResult, JobRunner } from '../../agent/measure/runner.ts'
import type { Verdicts } from '../../agent/measure/verdicts.ts'
import type { BenchModel } from '../bench/models.ts'

const RUNTIME: RuntimeSettings = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const TIMEOUT_MS = 60 * 60_000
const NEVER = new AbortController().signal

/** A model of the benches with its data unpacked in `folder`. */
export interface Subject {
  readonly sourcePath: string
  readonly datasetDir: string
  readonly split: SplitSpec
  readonly folder: string
}

export async function unpacked({ modelPath, split, writeData }: BenchModel, folder: string): Promise<Subject> {
  const npz = join(folder, 'data.npz')
  await writeData(npz)
  const datasetDir = join(folder, 'data')
  await unpackNpz(npz, datasetDir, NEVER)
  return { sourcePath: modelPath, datasetDir, split, folder }
}

/** As the search tries it first on such a box. */
export function staticInt8(architecture: 'arm64' | 'x64', samples: number): Recipe {
  const [flavour] = quantizationFlavours({ architecture, features: architecture === 'x64' ? ['avx512_vnni'] : [] })
  if (flavour === undefined) throw new RangeError(`${architecture} has no flavours`)
  const quantize: Pass = {
    pass: 'quantize-static',
    activations: flavour.activations,
    weights: { ...flavour.weights, perChannel: true },
    calibration: { method: 'minmax', samples },
    exclude: [],
  }
  return { schemaVersion: 1, passes: [{ pass: 'fold-batch-norm' }, quantize], runtime: RUNTIME }
}

export interface BuiltFile extends JobValue<'build'> {
  readonly path: string
}

export async function buildOn(runner: JobRunner, subject: Subject, recipe: Recipe, name: string): Promise<BuiltFile> {
  const { sourcePath, datasetDir, split, folder } = subject
  const outPath = join(folder, `${name}.onnx`)
  const job: JobOf<'build'> = {
    kind: 'build',
    sourcePath,
    datasetDir,
    split,
    recipe,
    outPath,
    calibrationThreads: 1,
  }
  return { ...done(await runner.run<'build'>(job, { timeoutMs: TIMEOUT_MS }, NEVER)), path: outPath }
}

/** What a model says of the first `count` evaluation samples, asked one after the other as the agent does. */
export async function verdictsOn(
  runner: JobRunner,
  { datasetDir, split, folder }: Subject,
  path: string,
  count: number,
): Promise<Verdicts> {
  const referencePath = join(folder, 'verdicts')
  const job: JobOf<'measure-accuracy'> = {
    kind: 'measure-accuracy',
    variant: { path, runtime: RUNTIME },
    baseline: null,
    samples: { datasetDir, split, which: 'evaluation' },
    task: { kind: 'classification' },
    maxSamples: count,
    // Of another CPU's, had it been left there, this one would be told instead of its own.
    referencePath: `${referencePath}-${process.hrtime.bigint()}`,
  }
  done(await runner.run<'measure-accuracy'>(job, { timeoutMs: TIMEOUT_MS }, NEVER))
  const bytes = await readFile(job.referencePath)
  const { key } = JSON.parse(bytes.toString('utf8', 4, 4 + bytes.readUInt32LE())) as { key: string }
  const verdicts = await readReference(job.referencePath, key)
  if (verdicts === undefined) throw new Error('the job left no verdicts')
  return verdicts
}

function done<Kind extends 'build' | 'measure-accuracy'>(result: JobResult<Kind>): JobValue<Kind> {
  if (result.kind === 'failed') throw new Error(`${result.reason}: ${result.message}`)
  return result.value
}

/** How two runs of one file differ, sample by sample. */
export interface Disagreement {
  readonly count: number
  /** Points of top-1: `given` less `expected`. */
  readonly points: number
  /** Another class. */
  readonly classes: number
  readonly onlyGivenRight: number
  readonly onlyExpectedRight: number
  /** Of the outputs of the first samples; infinite where they are equal to the last bit. */
  readonly sqnrDb: number
}

export function disagreement(expected: Verdicts, given: Verdicts): Disagreement {
  const { count } = expected
  const right = (verdicts: Verdicts, at: number) => verdicts.right?.[at] === 1
  const samples = Array.from({ length: count }, (_, at) => at)
  const tally = (holds: (at: number) => boolean) => samples.filter(holds).length
  const onlyGivenRight = tally((at) => right(given, at) && !right(expected, at))
  const onlyExpectedRight = tally((at) => right(expected, at) && !right(given, at))
  const [rows, others] = [expected.kept[0]?.data, given.kept[0]?.data]
  if (rows === undefined || others === undefined) throw new Error('no outputs were kept')
  return {
    count,
    points: (100 * (onlyGivenRight - onlyExpectedRight)) / count,
    classes: tally((at) => expected.values[at] !== given.values[at]),
    onlyGivenRight,
    onlyExpectedRight,
    sqnrDb: sqnrDb(addSqnr(EMPTY_SQNR, rows, others)),
  }
}

export function top1(verdicts: Verdicts): number {
  const { right, count } = verdicts
  if (right === null) throw new Error('the data has no labels')
  return (100 * right.reduce((sum, one) => sum + one, 0)) / count
}
