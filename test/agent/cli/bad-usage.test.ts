import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeFailure } from '@edgefit/shared'
import { describe, expect, it } from 'vitest'
import { fleetCommands } from '../../../agent/cli/fleet-commands.ts'
import type { CliIo } from '../../../agent/cli/io.ts'
import { offlineCommands } from '../../../agent/cli/offline-commands.ts'
import { BREAST_CANCER_MODEL as MODEL } from '../../support/breast-cancer.ts'

const io: CliIo = {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: new AbortController().signal,
  now: () => 0,
  monotonicNow: () => 0,
  random: () => 0,
}

/** What the command says, without a process of its own. */
async function failureOf([verb, ...args]: readonly string[]): Promise<string> {
  const command = [...fleetCommands(io), ...offlineCommands(io)].find((candidate) => candidate.name() === verb)
  try {
    await command
      ?.exitOverride()
      .configureOutput({ writeErr: () => undefined })
      .parseAsync(args, { from: 'user' })
  } catch (error) {
    return error instanceof Error && 'exitCode' in error ? error.message : describeFailure(error).text
  }
  throw new Error('the command did not fail')
}

describe('edgefit-agent', () => {
  const optimize = (...args: string[]) => ['optimize', ...args, '--latency-p90-ms', '5']
  const nowhere = ['--state', '/proc/nowhere']

  it.each<[string, readonly string[], RegExp]>([
    ['a model', optimize('no.onnx', '--data', MODEL, '--out', 'o'), /^INPUT_INVALID: model: cannot read no\.onnx/],
    ['the data', optimize(MODEL, '--data', 'no.npz', '--out', 'o'), /^INPUT_INVALID: --data: cannot read no\.npz/],
    ['a folder as data', optimize(MODEL, '--data', tmpdir(), '--out', 'o'), /^INPUT_INVALID: --data: .* is not a file/],
    ['a file as output', optimize(MODEL, '--data', MODEL, '--out', MODEL), /^INPUT_INVALID: --out: .* is no folder/],
    [
      'a recipe',
      ['optimize', MODEL, '--data', MODEL, '--out', 'o', '--recipe', 'no.json'],
      /^INPUT_INVALID: --recipe: cannot read no\.json/,
    ],
    [
      'a student',
      ['optimize', MODEL, '--data', MODEL, '--out', 'o', '--recipe', MODEL, '--student', 'no.onnx'],
      /^INPUT_INVALID: --student: cannot read no\.onnx/,
    ],
    [
      'a student to search for',
      optimize(MODEL, '--data', MODEL, '--out', 'o', '--student', MODEL),
      /^USAGE: --student needs --recipe/,
    ],
    ...(
      [
        ['--latency-p90-ms', '5'],
        ['--accuracy-floor', '0.99'],
        ['--accuracy-min', '0.9'],
        ['--max-memory-mib', '100'],
        ['--max-size-mib', '1'],
        ['--minimize', 'latency'],
        ['--budget-s', '60'],
      ] as const
    ).map(([flag, value]): [string, readonly string[], RegExp] => [
      `${flag} beside a recipe`,
      ['optimize', MODEL, '--data', MODEL, '--out', 'o', '--recipe', MODEL, flag, value],
      new RegExp(`^USAGE: --recipe .* so ${flag} would be ignored: leave it out`),
    ]),
    ['a budget of NaN', ['optimize', MODEL, '--data', MODEL, '--out', 'o', '--latency-p90-ms', 'NaN'], /"NaN" is not/],
    ['a budget of zero', ['optimize', MODEL, '--data', MODEL, '--out', 'o', '--latency-p90-ms', '0'], /"0" is not/],
    [
      'a recipe to rank by',
      ['layers', MODEL, '--data', MODEL, '--recipe', 'no.json'],
      /^INPUT_INVALID: --recipe: cannot read no\.json/,
    ],
    ['a recipe that is none', ['layers', MODEL, '--data', MODEL, '--recipe', MODEL], /^RECIPE_INVALID: .*model\.onnx/],
    [
      'a threshold',
      ['bench', MODEL, '--data', MODEL, '--task', 'binary-score', '--threshold', 'x'],
      /"x" is not a num/,
    ],
    ['a length', ['operators', MODEL, '--dim', 'batch=0'], /"batch=0" is not NAME=LENGTH/],
    ['a log level', ['run', '--log-level', 'loud'], /log-level.*Allowed choices are trace/],
    ['a box that was never enrolled', ['run', ...nowhere], /^NOT_FOUND: \/proc\/nowhere holds no agent\.json: enrol/],
    ['a rollback of no box', ['rollback', ...nowhere], /^NOT_FOUND: \/proc\/nowhere holds no agent\.json/],
  ])('names what is wrong with %s', async (_what, args, message) => {
    expect(await failureOf(args)).toMatch(message)
  })

  it('makes no new key where the one that enrolment made is missing', async () => {
    const state = await mkdtemp(join(tmpdir(), 'edgefit-keyless-'))
    const identity = {
      v: 1,
      fleet: 'fleet',
      deviceId: 'alpha',
      brokerUrl: 'mqtt://127.0.0.1:1',
      controllerKey: 'A'.repeat(43),
      labels: {},
      signIn: { kind: 'device-key' },
    }
    await writeFile(join(state, 'agent.json'), JSON.stringify(identity))

    expect(await failureOf(['run', '--state', state])).toMatch(/^CONFIG_INVALID: .*device-key\.pem is missing: restore/)

    expect(await readdir(state)).toEqual(['agent.json'])
    await rm(state, { recursive: true })
  })
})
