import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { type ObjectiveFlags, objectiveFromFlags, type TaskFlags } from '@edgefit/shared/model'
import { Command } from 'commander'
import { DEFAULT_LIMITS } from '../search/child-lab.ts'
import { bench } from './bench.ts'
import { openBox } from './box.ts'
import { cacheDir, requireFile, requireFolder } from './files.ts'
import { formatMeasurement, formatTrial } from './format.ts'
import { formatProfile } from './format-profile.ts'
import { formatReport } from './format-report.ts'
import { type CliIo, printResult, progressOf } from './io.ts'
import { layersCommand } from './layers-command.ts'
import { operatorsCommand } from './operators-command.ts'
import { type OptimizePorts, optimize, RESULT_FILES } from './optimize.ts'
import { addLimitOptions, type LimitOptions, seedOption } from './options.ts'
import type { Progress } from './progress.ts'
import { addSearchOptions, refuseSearchOptions } from './search-options.ts'
import { addTaskOptions, taskOf } from './task-option.ts'

/** The verbs that need no controller. */
export function offlineCommands(io: CliIo): readonly Command[] {
  return [profileCommand(io), optimizeCommand(io), benchCommand(io), layersCommand(io), operatorsCommand(io)]
}

function profileCommand(io: CliIo): Command {
  const command = new Command('profile')
    .description('say what this box is: CPU, memory, limits, measured speed, hardware class')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  edgefit-agent profile --cpus 0-1')
    .action(async (options: LimitOptions & { json?: boolean }) => {
      const profile = await (await openBox(options)).profile(io.signal)
      printResult(io, options.json ?? false, profile, () => formatProfile(profile))
    })
  return addLimitOptions(command)
}

interface OptimizeFlags extends LimitOptions, TaskFlags, Omit<ObjectiveFlags, 'latencyP90Ms'> {
  readonly data: string
  readonly out: string
  readonly recipe?: string
  readonly student?: string
  /** Absent with a recipe. */
  readonly latencyP90Ms?: number
  readonly budgetS: number
  readonly seed: number
  readonly json?: boolean
}

function optimizeCommand(io: CliIo): Command {
  const command = new Command('optimize')
    .description('fit a model to this box: search for a latency budget, or apply one recipe')
    .argument('<model>', 'an fp32 ONNX file')
    .requiredOption('--data <file>', 'dataset (.npz), arrays named as the model inputs, labels as "labels"')
    .requiredOption('--out <dir>', `where ${RESULT_FILES.join(', ')} and report.json go`)
    .option('--recipe <file>', 'apply this recipe instead of searching')
    .option(
      '--student <file>',
      'apply the recipe to this ONNX file, which is to replace the model and may learn from it',
    )
    .addOption(seedOption())
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  edgefit-agent optimize model.onnx --data data.npz --out fitted --latency-p90-ms 20 --accuracy-floor 0.99' +
        '\n  edgefit-agent optimize model.onnx --data data.npz --out fitted --recipe recipe.json' +
        '\n  edgefit-agent optimize teacher.onnx --student student.onnx --data data.npz --out fitted --recipe distil.json' +
        '\n\nExit status: 0 the objective is met or the recipe applied, 1 infeasible or failed, 2 bad usage.',
    )
    .action(async (modelPath: string, flags: OptimizeFlags, invoked: Command) => {
      if (flags.recipe !== undefined) refuseSearchOptions(invoked)
      const wanted = wantedOf(flags)
      const task = taskOf(flags)
      await requireFile('model', modelPath)
      await requireFile('--data', flags.data)
      if (flags.recipe !== undefined) await requireFile('--recipe', flags.recipe)
      if (flags.student !== undefined) await requireFile('--student', flags.student)
      await requireFolder('--out', flags.out)
      const progress = progressOf(io, flags.json ?? false)
      const box = await openBox(flags)
      progress.step('profiling this box')
      const profile = await box.profile(io.signal)
      const { data: npzPath, out: outDir, seed } = flags
      const { now, monotonicNow } = io
      const ports = {
        runner: box.runner,
        limits: DEFAULT_LIMITS,
        profile,
        latencyDir: join(cacheDir(), 'latency'),
        teacherDir: join(cacheDir(), 'teachers'),
        now,
        monotonicNow,
        ...showStudy(progress),
      }
      const report = await optimize({ modelPath, npzPath, outDir, task, seed, wanted }, ports, io.signal)
      progress.done()
      if (report.verdict === 'infeasible') process.exitCode = 1
      const written = [...(report.winner ? RESULT_FILES : []), 'report.json']
      printResult(io, flags.json ?? false, report, () => formatReport(report, written, outDir))
    })
  return addTaskOptions(addLimitOptions(addSearchOptions(command)))
}

function benchCommand(io: CliIo): Command {
  const command = new Command('bench')
    .description('measure one ONNX file on this box as it is')
    .argument('<model>', 'an ONNX file')
    .requiredOption('--data <file>', 'dataset (.npz)')
    .addOption(seedOption())
    .option('--json', 'print the measurement as JSON')
    .addHelpText('after', '\nExample:\n  edgefit-agent bench model.onnx --data data.npz --max-threads 1')
    .action(
      async (modelPath: string, flags: LimitOptions & TaskFlags & { data: string; seed: number; json?: boolean }) => {
        const options = { modelPath, npzPath: flags.data, task: taskOf(flags), seed: flags.seed }
        await requireFile('model', modelPath)
        await requireFile('--data', flags.data)
        const progress = progressOf(io, flags.json ?? false)
        const box = await openBox(flags)
        const profile = await box.profile(io.signal)
        const { now, monotonicNow } = io
        const ports = { runner: box.runner, profile, now, monotonicNow, onStep: progress.step }
        const measurement = await bench(options, ports, io.signal)
        progress.done()
        printResult(io, flags.json ?? false, measurement, () => formatMeasurement(modelPath, measurement))
      },
    )
  return addTaskOptions(addLimitOptions(command))
}

function wantedOf(flags: OptimizeFlags): Parameters<typeof optimize>[0]['wanted'] {
  const { recipe, student, latencyP90Ms } = flags
  if (recipe !== undefined) return { kind: 'recipe', recipePath: recipe, ...(student && { studentPath: student }) }
  if (student !== undefined) {
    throw new EdgefitError(
      '--student needs --recipe: say with a recipe what is to become of the student, and how it learns',
      {
        code: 'USAGE',
      },
    )
  }
  if (latencyP90Ms === undefined) {
    throw new EdgefitError('say what is wanted: --latency-p90-ms MS to search, or --recipe FILE to apply', {
      code: 'USAGE',
    })
  }
  return { kind: 'search', objective: objectiveFromFlags({ ...flags, latencyP90Ms }), budgetS: flags.budgetS }
}

function showStudy(progress: Progress): Pick<OptimizePorts, 'onEvent' | 'onProgress'> {
  let current = ''
  let waiting = false
  return {
    onEvent(event) {
      if (event.kind === 'trial') progress.line(formatTrial(event.trial))
      if (event.kind !== 'step') return
      current = event.what
      progress.step(current)
    },
    onProgress({ stage, fraction, detail }) {
      const waitsNow = stage === 'waiting'
      if (waitsNow !== waiting) {
        progress.step(waitsNow ? `${current}: waiting for another measurement on this host to end` : current)
      }
      waiting = waitsNow
      if (detail !== undefined) progress.detail(detail)
      else if (fraction !== null && !waitsNow) progress.share(fraction)
    },
  }
}
