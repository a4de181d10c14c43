/** `npm run bench -- NAME [options]`: measurements whose figures are ratios within one run. */
const BENCHES: Readonly<Record<string, () => Promise<{ run(args: readonly string[]): Promise<void> }>>> = {
  'latency-table': () => import('./latency-table.ts'),
  arm64: () => import('./arm64.ts'),
  prune: () => import('./prune.ts'),
  ptq: () => import('./ptq.ts'),
  repair: () => import('./repair.ts'),
  train: () => import('./train.ts'),
  transfer: () => import('./transfer.ts'),
}

const [name = '', ...args] = process.argv.slice(2)
const load = BENCHES[name]
if (load === undefined) {
  console.error(`usage: npm run bench -- NAME, where NAME is one of: ${Object.keys(BENCHES).join(', ')}`)
  process.exitCode = 2
} else {
  const { run } = await load()
  await run(args)
}
