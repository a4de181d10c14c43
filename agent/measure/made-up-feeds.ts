import { EdgefitError } from '@edgefit/shared'
import type { TensorSpec } from '@edgefit/shared/model'
import { elementCount } from '@edgefit/shared/onnx'
import type { Random } from '@edgefit/shared/stats'
import type { FeedTensor } from '../compress/runtime-port.ts'
import type { Feeds } from './ort-session.ts'

const ONE_HALF_FLOAT16 = 0x3800

/**
 * Values to time a model with where no samples are at hand. Floating numbers are neither zero nor denormal, which some
 * kernels are faster or slower with; wide integers are zero, since they are positions and lengths, where zero is valid.
 *
 * @throws EdgefitError INPUT_INVALID for an input whose lengths are open
 */
export function madeUpFeeds(inputs: readonly TensorSpec[], random: Random): Feeds {
  return Object.fromEntries(inputs.map((input) => [input.name, madeUp(input, random)]))
}

function madeUp({ name, type, dims: specified }: TensorSpec, random: Random): FeedTensor {
  const dims = specified.map((dim) => {
    if (typeof dim === 'number') return dim
    throw new EdgefitError(`input "${name}" has the open length ${dim ?? 'unknown'}: bind it to a number first`, {
      code: 'INPUT_INVALID',
    })
  })
  const length = elementCount(dims)
  const real = () => 0.1 + 0.9 * random()
  const byte = () => Math.floor(random() * 256)
  switch (type) {
    case 'float32':
      return { type, dims, data: Float32Array.from({ length }, real) }
    case 'float64':
      return { type, dims, data: Float64Array.from({ length }, real) }
    case 'float16':
      return { type, dims, data: new Uint16Array(length).fill(ONE_HALF_FLOAT16) }
    case 'int8':
      return { type, dims, data: Int8Array.from({ length }, byte) }
    case 'uint8':
      return { type, dims, data: Uint8Array.from({ length }, byte) }
    case 'bool':
      return { type, dims, data: new Uint8Array(length) }
    case 'int16':
      return { type, dims, data: new Int16Array(length) }
    case 'uint16':
      return { type, dims, data: new Uint16Array(length) }
    case 'int32':
      return { type, dims, data: new Int32Array(length) }
    case 'uint32':
      return { type, dims, data: new Uint32Array(length) }
    case 'int64':
      return { type, dims, data: new BigInt64Array(length) }
    case 'uint64':
      return { type, dims, data: new BigUint64Array(length) }
  }
}
