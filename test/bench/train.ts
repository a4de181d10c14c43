/** `npm run bench -- train [PART] [options]`: what training inside the runtime costs, and what it wins. All parts without PART. */
type Part = () => Promise<{ run(args: readonly string[]): Promise<void> }>

const PARTS: Readonly<Record<string, Part>> = {
  distillation: () => import('./train/distillation.ts'),
  penalties: () => import('./train/penalties.ts'),
  qat: () => import('./train/qat.ts'),
  scopes: () => import('./train/scopes.ts'),
  recovery: () => import('./train/recovery.ts'),
  steps: () => import('./train/steps.ts'),
}

export async function run(args: readonly string[]): Promise<void> {
  const [name] = args
  if (name === undefined || name.startsWith('-')) {
    for (const load of Object.values(PARTS)) await (await load()).run(args)
    return
  }
  const load = PARTS[name]
  if (load === undefined) {
    throw new RangeError(`bench train has no part "${name}"; its parts are ${Object.keys(PARTS).join(', ')}`)
  }
  await (await load()).run(args.slice(1))
}
