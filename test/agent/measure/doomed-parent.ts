import { createChildRunner } from '../../../agent/measure/child.ts'

// Runs a job that never ends and says on stdout when it has begun. The test kills this process.
const [lockPath = '', behaviour = ''] = process.argv.slice(2)
const runner = await createChildRunner({ lockPath, workerEntry: new URL('./misbehaving-worker.ts', import.meta.url) })
await runner.run<'inspect'>(
  { kind: 'inspect', modelPath: behaviour, samples: null },
  { timeoutMs: 60_000, onProgress: ({ stage }) => process.stdout.write(`${stage}\n`) },
  AbortSignal.timeout(60_000),
)
