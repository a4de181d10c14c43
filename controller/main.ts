#!/usr/bin/env node
import { runCli } from './cli/run.ts'

const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stop.signal,
  now: Date.now,
  onReload: (handler) => process.on('SIGHUP', handler),
  defaultDataDir: process.env['EDGEFIT_DATA'] ?? './edgefit-data',
})
