/** What pruning removes and what it saves: channels by ratio and by latency, and single weights. */
import { parseArgs } from 'node:util'
import { benchModels } from './models.ts'
import { latencyRows, latencyTable } from './prune-latency.ts'
import { ratioRows, ratioTable } from './prune-ratio.ts'
import { openPruneShop, pruneSubjects } from './prune-shop.ts'
import { sparsityRows, sparsityTable } from './prune-weights.ts'

const PARTS = ['ratio', 'latency', 'weights']

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      /** Models whose name contains this. */
      only: { type: 'string', default: '' },
      part: { type: 'string', multiple: true, default: PARTS },
    },
  })
  const unknown = values.part.filter((part) => !PARTS.includes(part))
  if (unknown.length > 0) throw new Error(`--part ${unknown.join(', ')}: choose among ${PARTS.join(', ')}`)
  const shop = await openPruneShop()
  try {
    const subjects = pruneSubjects(values.only)
    const labelled = benchModels().filter((model) => model.labelled && model.name.includes(values.only))
    const print = <Row>(rows: readonly Row[], table: (rows: readonly Row[]) => string): void => {
      if (rows.length > 0) console.log(`${values.json ? JSON.stringify(rows, null, 2) : table(rows)}\n`)
    }
    if (values.part.includes('ratio')) print(await each(subjects, (one) => ratioRows(one, shop)), ratioTable)
    if (values.part.includes('latency')) print(await each(labelled, (one) => latencyRows(one, shop)), latencyTable)
    if (values.part.includes('weights')) print(await each(subjects, (one) => sparsityRows(one, shop)), sparsityTable)
  } finally {
    await shop.close()
  }
}

async function each<One extends { readonly name: string }, Row>(
  subjects: readonly One[],
  rowsOf: (subject: One) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const subject of subjects) {
    process.stderr.write(`${subject.name}\n`)
    rows.push(...(await rowsOf(subject)))
  }
  return rows
}
