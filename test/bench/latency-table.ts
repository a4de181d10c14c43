/** Latencies predicted from operators timed one by one, against those of whole models. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { saveModel } from '@edgefit/shared/onnx'
import { median, sortedCopy } from '@edgefit/shared/stats'
import { createChildRunner } from '../../agent/measure/child.ts'
import type { JobValue } from '../../agent/measure/jobs.ts'
import { convolutions, latencySubjects } from './latency-subjects.ts'
import { LOCK_PATH } from './ptq-workshop.ts'

const TIMEOUT_MS = 60 * 60_000
const CHANNELS = [48, 52, 56, 60, 62, 63, 64, 65, 68, 72, 76, 80]

type Timed = JobValue<'time-operators'>['models'][number] & { readonly name: string; readonly form: string }

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      /** Models whose name contains this. */
      only: { type: 'string', default: '' },
      threads: { type: 'string', default: '1' },
      /** Keeps the table there, so that the next run finds it. */
      table: { type: 'string' },
    },
  })
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-latency-'))
  try {
    const runner = await createChildRunner({ lockPath: LOCK_PATH })
    const time = async (name: string, forms: Awaited<ReturnType<typeof convolutions>>): Promise<readonly Timed[]> => {
      process.stderr.write(`${name}\n`)
      const paths = forms.map((_, at) => join(folder, `${at}.onnx`))
      for (const [at, { model }] of forms.entries()) await saveModel(paths[at] ?? '', model)
      const result = await runner.run<'time-operators'>(
        {
          kind: 'time-operators',
          modelPaths: paths,
          tableFolder: values.table ?? join(folder, 'table'),
          compare: true,
          hardwareClass: 'this box',
          runtime: { intraOpThreads: Number(values.threads), allowSpinning: false, memoryArena: true },
        },
        { timeoutMs: TIMEOUT_MS },
        AbortSignal.timeout(TIMEOUT_MS),
      )
      if (result.kind === 'failed') throw new Error(`${name}: ${result.reason}: ${result.message}`)
      return result.value.models.map((one, at) => ({ ...one, name, form: forms[at]?.form ?? '' }))
    }
    const models: Timed[] = []
    for (const { name, forms } of latencySubjects()) {
      if (name.includes(values.only)) models.push(...(await time(name, await forms())))
    }
    const staircase = await time('four 3x3 convolutions at 28x28', await convolutions(CHANNELS))
    console.log(values.json ? JSON.stringify({ models, staircase }, null, 2) : report(models, staircase))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function report(models: readonly Timed[], staircase: readonly Timed[]): string {
  const [byClock, byCpu] = [medianError(models, 'ms'), medianError(models, 'cpuMs')]
  return [
    table(models),
    `median error of ${models.length} models: ${byClock} against their time, ${byCpu} against their CPU time`,
    table(staircase),
  ].join('\n\n')
}

/** On a busy box a long run is interrupted however often it is tried; the CPU time of one thread is not. */
function errorOf({ ms, whole }: Timed, against: 'ms' | 'cpuMs'): number {
  return whole === null ? Number.NaN : ms / whole[against] - 1
}

function medianError(models: readonly Timed[], against: 'ms' | 'cpuMs'): string {
  const errors = models.map((one) => Math.abs(errorOf(one, against)))
  return errors.length === 0 ? 'unknown' : percent(median(sortedCopy(errors)))
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function table(rows: readonly Timed[]): string {
  const header = [
    'model',
    'form',
    'predicted ms',
    'measured ms',
    'error',
    'CPU ms',
    'error',
    'operators',
    'new',
    'missing',
  ]
  const body = rows.map((row) => [
    row.name,
    row.form,
    row.ms.toFixed(4),
    row.whole?.ms.toFixed(4) ?? '-',
    percent(errorOf(row, 'ms')),
    row.whole?.cpuMs.toFixed(4) ?? '-',
    percent(errorOf(row, 'cpuMs')),
    String(row.operatorCount),
    String(row.timedCount),
    [...new Set(row.missing.map(({ key }) => key.split('(')[0]))].join(', '),
  ])
  return [header, header.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
