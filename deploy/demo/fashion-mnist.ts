import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'

/** Mean and standard deviation of the training images in [0, 1]: what the demo's models were trained with. */
const MEAN = 0.2860406
const STD = 0.35302424

const data = (name: string) => new URL(`data/${name}`, import.meta.url)
export const FASHION_MNIST = {
  mobileNet: data('fashion-mobilenetv2.onnx'),
  resNet: data('fashion-resnet14.onnx'),
} as const

export interface FashionMnist {
  /** Normalized images [count, 1, 28, 28]. */
  readonly input: Float32Array
  /** Class of each image, 0 to 9. */
  readonly labels: BigInt64Array
  readonly count: number
}

/** The first `count` of the 10,000 test images of Fashion-MNIST (Zalando SE, MIT), as the models expect them. */
export async function loadFashionMnist(count: number): Promise<FashionMnist> {
  const images = gunzipSync(await readFile(data('t10k-images-idx3-ubyte.gz')))
  const classes = gunzipSync(await readFile(data('t10k-labels-idx1-ubyte.gz')))
  const available = images.readUInt32BE(4)
  if (count > available) throw new RangeError(`${count} images are asked for, ${available} are there`)
  const pixels = images.subarray(16, 16 + count * 28 * 28)
  return {
    input: Float32Array.from(pixels, (pixel) => (pixel / 255 - MEAN) / STD),
    labels: BigInt64Array.from(classes.subarray(8, 8 + count), BigInt),
    count,
  }
}
