/** Activates versions one after the other until it is killed: `tsx activate-forever.ts STATE_DIR MODEL_A MODEL_B`. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { openSlotStore } from '../../agent/deploy/slots.ts'
import { measurement, RUNTIME } from './measurements.ts'

const [stateDir = '', ...models] = process.argv.slice(2)
const slots = await openSlotStore(stateDir)
process.stdout.write('ready\n')
for (let round = 0; ; round += 1) {
  const path = models[round % models.length] ?? ''
  const digest = createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
  const version = await slots.stage(path, {
    schemaVersion: 1,
    slot: 'main',
    deploymentId: `d${process.pid}-${round}`,
    model: { name: 'm', version: 1, sourceDigest: digest, task: { kind: 'classification' } },
    variant: { digest, sizeBytes: 1, recipeDigest: digest, label: null },
    runtime: RUNTIME,
    sessionOptions: {},
    inputs: [],
    outputs: [],
    measurement: measurement({ p90BoundMs: 1 }),
    activatedAtMs: 0,
  })
  await slots.activate('main', version)
  if (round % 5 === 4) await slots.rollBack('main')
  await slots.tidy('main')
}
