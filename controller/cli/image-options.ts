import { EdgefitError } from '@edgefit/shared'
import { type Command, Option } from 'commander'
import type { ImageFolderOptions } from '../catalog/image-folder.ts'
import { finite, integerIn, numberList } from './option-parsers.ts'

const PIXELS = integerIn(1, 8192)

export interface ImageFlags {
  readonly images?: string
  readonly labels?: string
  readonly input?: string
  readonly width?: number
  readonly height?: number
  readonly fit?: 'crop' | 'stretch'
  readonly shorterSide?: number
  readonly layout?: 'nchw' | 'nhwc'
  readonly channels?: '1' | '3'
  readonly scale?: number
  readonly mean?: number[]
  readonly std?: number[]
}

export function addImageOptions(command: Command): Command {
  return command
    .option('--images <dir>', 'make the dataset from a folder of images')
    .option('--labels <csv>', 'images: file,label lines')
    .option('--input <name>', 'images: name of the model input (default: input)')
    .addOption(new Option('--width <pixels>', 'images: width of the model input').argParser(PIXELS))
    .addOption(new Option('--height <pixels>', 'images: height of the model input').argParser(PIXELS))
    .addOption(new Option('--fit <how>', 'images: keep the proportions or not').choices(['crop', 'stretch']))
    .addOption(new Option('--shorter-side <pixels>', 'images: scale to this before cropping').argParser(PIXELS))
    .addOption(new Option('--layout <order>', 'images: order of the axes').choices(['nchw', 'nhwc']))
    .addOption(new Option('--channels <n>', 'images: 3 is RGB, 1 is luminance').choices(['1', '3']))
    .addOption(
      new Option('--scale <factor>', 'images: multiplies a pixel of 0..255 (default: 1/255)').argParser(finite),
    )
    .addOption(
      new Option('--mean <values>', 'images: subtracted after scaling, as in 0.485,0.456,0.406').argParser(numberList),
    )
    .addOption(
      new Option('--std <values>', 'images: divides after that, as in 0.229,0.224,0.225').argParser(numberList),
    )
}

/** @throws EdgefitError USAGE where the size is missing */
export function imageFolderOptions(
  flags: ImageFlags & { readonly images: string },
  outPath: string,
): ImageFolderOptions {
  const { images: folder, labels, input, width, height, fit, shorterSide, layout, channels, scale, mean, std } = flags
  if (width === undefined || height === undefined)
    throw new EdgefitError('--images needs the size of the model input: add --width and --height', { code: 'USAGE' })
  return {
    folder,
    outPath,
    width,
    height,
    ...(labels !== undefined && { labelsPath: labels }),
    ...(input !== undefined && { inputName: input }),
    ...(fit !== undefined && { fit }),
    ...(shorterSide !== undefined && { shorterSide }),
    ...(layout !== undefined && { layout }),
    ...(channels !== undefined && { channels: channels === '1' ? 1 : 3 }),
    ...(scale !== undefined && { scale }),
    ...(mean !== undefined && { mean }),
    ...(std !== undefined && { std }),
  }
}

const IMAGE_ONLY = [
  ['labels', '--labels'],
  ['input', '--input'],
  ['width', '--width'],
  ['height', '--height'],
  ['fit', '--fit'],
  ['shorterSide', '--shorter-side'],
  ['layout', '--layout'],
  ['channels', '--channels'],
  ['scale', '--scale'],
  ['mean', '--mean'],
  ['std', '--std'],
] as const

/** @throws EdgefitError USAGE for an option that has no meaning without `--images` */
export function refuseImageOptions(flags: ImageFlags): void {
  const stray = IMAGE_ONLY.find(([key]) => flags[key] !== undefined)
  if (stray !== undefined)
    throw new EdgefitError(`${stray[1]} goes with --images: add it, or leave ${stray[1]} out`, { code: 'USAGE' })
}
