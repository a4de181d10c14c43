import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { Command } from 'commander'
import type { DatasetView } from '../catalog/datasets.ts'
import { mebibytes, plural, utcMinute } from '../report/words.ts'
import { addImageOptions, type ImageFlags, imageFolderOptions, refuseImageOptions } from './image-options.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { formatFacts, formatTable, print, versionText } from './output.ts'
import { createProgressBar } from './progress-bar.ts'
import { sendFile } from './send-file.ts'

export function datasetCommands(io: CliIo): Command {
  return new Command('dataset')
    .description('data that models are fitted and judged with')
    .addCommand(publishCommand(io))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
}

function publishCommand(io: CliIo): Command {
  const command = verb(io, 'publish <name> [file]', 'put a dataset (.npz, or a folder of images) into the catalog', [
    'edgefit dataset publish road-scenes data.npz',
    'edgefit dataset publish cats --images photos --labels labels.csv --width 224 --height 224',
  ])
  return addImageOptions(command).action(
    async (name: string, file: string | undefined, flags: CommonFlags & ImageFlags) => {
      const publish = async (path: string) => {
        const client = connect(io, flags)
        const upload = await sendFile(io, client, path, flags.json === true)
        const result = await client.call('dataset.publish', { name, upload }, io.signal)
        const { dataset, created } = result
        print(
          io,
          flags.json,
          result,
          () => `${versionText(dataset)}: ${created ? 'published' : 'published before'}, ${contentText(dataset)}`,
        )
      }
      if (flags.images !== undefined) {
        if (file !== undefined) throw new EdgefitError('give a file or --images, not both', { code: 'USAGE' })
        return await withImages(io, { ...flags, images: flags.images }, publish)
      }
      refuseImageOptions(flags)
      if (file === undefined) throw new EdgefitError('give an .npz file, or --images with a folder', { code: 'USAGE' })
      await publish(file)
    },
  )
}

async function withImages(
  io: CliIo,
  flags: CommonFlags & ImageFlags & { readonly images: string },
  publish: (path: string) => Promise<void>,
): Promise<void> {
  const { imageFolderToNpz } = await import('../catalog/image-folder.ts')
  const scratch = await mkdtemp(join(tmpdir(), 'edgefit-images-'))
  const bar = createProgressBar(io, 'reading images', flags.json === true)
  try {
    const outPath = join(scratch, 'dataset.npz')
    const options = { ...imageFolderOptions(flags, outPath), onProgress: bar.update }
    const { classes } = await imageFolderToNpz(options, io.signal)
    bar.end()
    if (classes !== undefined && flags.json !== true) io.stderr.write(`classes from 0: ${classes.join(', ')}\n`)
    await publish(outPath)
  } finally {
    bar.end()
    await rm(scratch, { recursive: true, force: true })
  }
}

function listCommand(io: CliIo): Command {
  return verb(io, 'list', 'datasets and their versions', ['edgefit dataset list']).action(
    async (flags: CommonFlags) => {
      const result = await connect(io, flags).call('dataset.list', {}, io.signal)
      print(io, flags.json, result, () => {
        if (result.datasets.length === 0) return 'no datasets; "edgefit dataset publish" adds one'
        const rows = result.datasets.map((dataset) => [
          versionText(dataset),
          String(dataset.count),
          dataset.hasLabels ? 'yes' : 'no',
          mebibytes(dataset.artifact.sizeBytes),
          utcMinute(dataset.publishedAtMs),
        ])
        const right = { alignment: 'right' } as const
        return formatTable(
          io,
          ['DATASET', { name: 'SAMPLES', ...right }, 'LABELS', { name: 'MIB', ...right }, 'PUBLISHED'],
          rows,
        )
      })
    },
  )
}

function showCommand(io: CliIo): Command {
  return verb(io, 'show <dataset>', 'one dataset; NAME is its newest version', [
    'edgefit dataset show road-scenes@2',
  ]).action(async (name: string, flags: CommonFlags) => {
    const result = await connect(io, flags).call('dataset.show', { dataset: name }, io.signal)
    const { dataset } = result
    print(io, flags.json, result, () =>
      formatFacts(io, [
        ['dataset', versionText(dataset)],
        ['published', utcMinute(dataset.publishedAtMs)],
        ['content', contentText(dataset)],
        ...dataset.arrays.map(
          ({ name: array, dtype, shape }) => ['array', `${array}: ${dtype} [${['N', ...shape].join(', ')}]`] as const,
        ),
        ['labels', dataset.labelRange && `${dataset.labelRange.min} to ${dataset.labelRange.max}`],
        ['size', `${mebibytes(dataset.artifact.sizeBytes)} MiB`],
        ['digest', dataset.artifact.digest],
      ]),
    )
  })
}

function contentText({ count, hasLabels }: DatasetView): string {
  return `${plural(count, 'sample')} ${hasLabels ? 'with' : 'without'} labels`
}
