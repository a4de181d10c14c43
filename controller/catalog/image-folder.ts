import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { EdgefitError, parseWith } from '@edgefit/shared'
import { LABELS, type NpzSource, writeNpz } from '@edgefit/shared/dataset'
import sharp, { type OutputInfo } from 'sharp'
import * as z from 'zod'
import { type LabelledImages, listImages, readImageLabels } from './image-labels.ts'

const PerChannel = z.array(z.number()).min(1).max(3)

/** How images become a model input. A pixel value v of 0..255 becomes (v * scale - mean) / std of its channel. */
const ImageFolderSettings = z.strictObject({
  folder: z.string().min(1),
  /** CSV of `file,label`; without it every image of the folder is taken and the dataset has no labels. */
  labelsPath: z.string().min(1).optional(),
  outPath: z.string().regex(/\.npz$/, 'must end in .npz'),
  inputName: z.string().min(1).default('input'),
  width: z.int().min(1).max(8192),
  height: z.int().min(1).max(8192),
  /** `crop` keeps the proportions and cuts the centre out; `stretch` does not keep them. */
  fit: z.enum(['crop', 'stretch']).default('crop'),
  /**
   * With `crop`: scale the shorter side to this many pixels before cutting (256 before 224 for many ImageNet models).
   * Without it the image is scaled as small as covers width and height.
   */
  shorterSide: z.int().min(1).max(8192).optional(),
  layout: z.enum(['nchw', 'nhwc']).default('nchw'),
  /** 3 is RGB, 1 is luminance. */
  channels: z.union([z.literal(1), z.literal(3)]).default(3),
  scale: z.number().default(1 / 255),
  mean: PerChannel.default([0]),
  std: PerChannel.default([1]),
  /** Deflate the arrays: smaller to send, but the same bytes only from the same Node build. */
  compress: z.boolean().default(true),
})
type ImageFolderSettings = z.infer<typeof ImageFolderSettings>

export interface ImageFolderOptions extends z.input<typeof ImageFolderSettings> {
  readonly onProgress?: (done: number, total: number) => void
}

export interface ImageDataset {
  readonly count: number
  /** Row shape of the input. */
  readonly shape: readonly number[]
  /** Class names by class number, when the labels file names classes; also in the file at `classesPath`. */
  readonly classes?: readonly string[]
  readonly classesPath?: string
}

/**
 * Makes a dataset of float32 images from a folder: `inputName` of [N, C, H, W] or [N, H, W, C], and `labels` of int64
 * [N] when there is a labels file. Images are turned as their EXIF says, laid on black where transparent, resized with
 * Lanczos, and streamed to disk one by one; the same folder gives the same bytes.
 *
 * @throws EdgefitError INPUT_INVALID for a bad setting or line, NOT_FOUND for a missing file, DATASET_INVALID for an
 * image that cannot be decoded; each names the file
 */
export async function imageFolderToNpz(options: ImageFolderOptions, signal: AbortSignal): Promise<ImageDataset> {
  const { onProgress, ...given } = options
  const settings = parseWith(ImageFolderSettings, given, 'image folder settings', 'INPUT_INVALID')
  checkSettings(settings)
  const { folder, labelsPath, outPath, inputName, layout, channels, height, width, compress } = settings
  const images = labelsPath === undefined ? await listImages(folder) : await readImageLabels(labelsPath)
  await checkPresent(folder, images.files)
  const count = images.files.length
  const shape = layout === 'nchw' ? [channels, height, width] : [height, width, channels]
  const pixels = () => imagePieces(images.files, settings, onProgress, signal)
  const sources: NpzSource[] = [{ name: inputName, dtype: 'float32', shape: [count, ...shape], data: pixels }]
  if (images.labels) {
    const data = BigInt64Array.from(images.labels, BigInt)
    sources.push({ name: LABELS, dtype: 'int64', shape: [count], data })
  }
  const recorded = await recordClasses(images, outPath)
  await writeNpz(outPath, sources, { compress }, signal)
  return { count, shape, ...recorded }
}

function checkSettings({ inputName, channels, mean, std, width, height, fit, shorterSide }: ImageFolderSettings): void {
  const refuse = (fault: string) => {
    throw new EdgefitError(`image folder settings: ${fault}`, { code: 'INPUT_INVALID' })
  }
  if (inputName === LABELS) refuse(`inputName "${LABELS}" is taken by the labels; give the name of the model input`)
  for (const [name, values] of Object.entries({ mean, std })) {
    if (values.length !== 1 && values.length !== channels) {
      refuse(`${name} has ${values.length} values for ${channels} channels; give one, or one a channel`)
    }
  }
  if (std.some((value) => value === 0)) refuse('std is 0; a divisor must not be')
  if (shorterSide === undefined) return
  if (fit === 'stretch') refuse('shorterSide has no meaning with fit "stretch"; leave it out or use fit "crop"')
  if (shorterSide < Math.max(width, height)) {
    refuse(`shorterSide ${shorterSide} does not cover ${width} x ${height}; give at least the larger of them`)
  }
}

async function checkPresent(folder: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    await access(join(folder, file)).catch((cause: unknown) => {
      throw new EdgefitError(`image "${file}" is not in ${folder}; correct the labels file or add the image`, {
        code: 'NOT_FOUND',
        cause,
        details: { file },
      })
    })
  }
}

async function recordClasses(
  { classes }: LabelledImages,
  outPath: string,
): Promise<Pick<ImageDataset, 'classes' | 'classesPath'>> {
  if (classes === undefined) return {}
  const classesPath = outPath.replace(/\.npz$/, '.classes.json')
  await writeFile(classesPath, `${JSON.stringify(classes, undefined, 2)}\n`)
  return { classes, classesPath }
}

async function* imagePieces(
  files: readonly string[],
  settings: ImageFolderSettings,
  onProgress: ImageFolderOptions['onProgress'],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (const [index, file] of files.entries()) {
    signal.throwIfAborted()
    const { data, info } = await decode(file, settings)
    const pixels = normalize(data, info, settings)
    yield new Uint8Array(pixels.buffer)
    onProgress?.(index + 1, files.length)
  }
}

async function decode(
  file: string,
  { folder, width, height, fit, shorterSide, channels }: ImageFolderSettings,
): Promise<{ data: Buffer; info: OutputInfo }> {
  const [targetWidth, targetHeight] = shorterSide === undefined ? [width, height] : [shorterSide, shorterSide]
  try {
    return await sharp(join(folder, file), { sequentialRead: true })
      .autoOrient()
      .flatten({ background: 'black' })
      .resize(targetWidth, targetHeight, { fit: fit === 'stretch' ? 'fill' : 'outside' })
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
  } catch (cause) {
    throw new EdgefitError(`image "${file}" in ${folder} cannot be decoded; replace it or remove it from the list`, {
      code: 'DATASET_INVALID',
      cause,
      details: { file },
    })
  }
}

/** Cuts the centre out of interleaved bytes and brings it to the layout, scale, mean and std of the model. */
function normalize(bytes: Uint8Array, info: OutputInfo, settings: ImageFolderSettings): Float32Array<ArrayBuffer> {
  const { width, height, layout, channels, scale, mean, std } = settings
  const left = Math.round((info.width - width) / 2)
  const top = Math.round((info.height - height) / 2)
  const [pixelStride, channelStride] = layout === 'nchw' ? [1, width * height] : [channels, 1]
  const result = new Float32Array(channels * width * height)
  for (let channel = 0; channel < channels; channel += 1) {
    // A grey image asked for as RGB comes with one channel.
    const sourceChannel = Math.min(channel, info.channels - 1)
    const offset = mean[channel % mean.length] ?? 0
    const divisor = std[channel % std.length] ?? 1
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const value = bytes[((top + y) * info.width + left + x) * info.channels + sourceChannel] ?? 0
        result[channel * channelStride + (y * width + x) * pixelStride] = (value * scale - offset) / divisor
      }
    }
  }
  return result
}
