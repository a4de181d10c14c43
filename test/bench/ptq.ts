/**
 * Post-training quantization: accuracy over calibration seeds, and accuracy, latency, time and memory against
 * onnxruntime.quantization on the same samples.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { referenceTool } from './peers/reference-tool.ts'
import { accuracyTable, benchAccuracy, type Compared, latencyCases } from './ptq-compare.ts'
import { benchCost, type CostRow, costTable } from './ptq-cost.ts'
import { benchLatency, type LatencyCase, latencyTable } from './ptq-latency.ts'
import { benchRepair, repairTable } from './ptq-repair.ts'
import { ptqSubjects, unlabelledSubjects } from './ptq-subjects.ts'
import { createWorkshop, LOCK_PATH } from './ptq-workshop.ts'

const LIMIT_MS = 2 * 60 * 60_000

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      /** Models whose name contains this. */
      only: { type: 'string', default: '' },
      seeds: { type: 'string', default: '5' },
      /** Calibration samples. */
      samples: { type: 'string', default: '200' },
      /** Leaves out what does not concern the reference tool. */
      'against-reference': { type: 'boolean', default: false },
      /** An interpreter with onnx and the same onnxruntime; by default one is made. */
      python: { type: 'string' },
    },
  })
  const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => index + 1)
  const samples = Number(values.samples)
  const chosen = <Named extends { readonly name: string }>(all: readonly Named[]): readonly Named[] =>
    all.filter(({ name }) => name.includes(values.only))
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-bench-ptq-'))
  try {
    const reference = await referenceTool(values.python, LOCK_PATH)
    if (reference === undefined && values['against-reference']) return
    const scene = { workshop: await createWorkshop(AbortSignal.timeout(LIMIT_MS)), reference, seeds, samples, folder }
    const cases: LatencyCase[] = []
    const compared: Compared[] = []
    for (const subject of chosen(ptqSubjects())) compared.push(await benchAccuracy(scene, subject))
    if (compared.length > 0) console.log(`${accuracyTable(compared)}\n`)
    cases.push(...compared.flatMap(latencyCases))

    const costs: CostRow[] = []
    for (const subject of chosen(unlabelledSubjects(samples))) {
      const cost = await benchCost(scene, subject)
      costs.push(...cost.rows)
      cases.push(...cost.cases)
    }
    if (costs.length > 0) console.log(`${costTable(costs, samples)}\n`)
    console.log(`${latencyTable(await benchLatency(scene.workshop, cases))}\n`)

    for (const subject of chosen(ptqSubjects())) {
      if (values['against-reference'] || subject.name !== 'fashion_mobilenetv2') continue
      console.log(`${repairTable(subject.name, await benchRepair(scene, subject))}\n`)
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
