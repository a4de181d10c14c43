import type { Training } from '@edgefit/shared/model'
import type { Random } from '@edgefit/shared/stats'
import type { FeedTensor } from '../runtime-port.ts'

type Augmentation = NonNullable<Training['augmentation']>

/** By axis, where each position comes from. Other axes stay as they are. */
type Sources = ReadonlyMap<number, readonly number[]>

/**
 * A batch, each sample shifted and mirrored by a source of chance of its own.
 *
 * @param feed float32 [batch, ...]
 */
export function moved(
  feed: FeedTensor | undefined,
  augmentation: Augmentation,
  randoms: readonly Random[],
): FeedTensor {
  const values = floatsOf(feed)
  const dims = feed?.dims ?? []
  const data = new Float32Array(values.length)
  const size = values.length / randoms.length
  for (const [row, random] of randoms.entries()) {
    const slice = { axis: 1, from: row * size, to: row * size, size }
    copyFrom(sourcesOf(dims, augmentation, random), dims, values, data, slice)
  }
  return { type: 'float32', dims, data }
}

/** λ a + (1 - λ) b, with one λ a sample. */
export function mixed(a: FeedTensor, b: FeedTensor, shares: readonly number[]): FeedTensor {
  const others = floatsOf(b)
  const size = others.length / shares.length
  const data = floatsOf(a).map((value, at) => {
    const share = shares[Math.floor(at / size)] ?? 1
    return share * value + (1 - share) * (others[at] ?? 0)
  })
  return { type: 'float32', dims: a.dims, data }
}

/** A number from Beta(α, α), by the method of Jöhnk (1964). */
export function symmetricBeta(alpha: number, random: Random): number {
  for (;;) {
    const [one, other] = [random() ** (1 / alpha), random() ** (1 / alpha)]
    if (one + other > 0 && one + other <= 1) return one / (one + other)
  }
}

function sourcesOf(dims: readonly number[], { shifts, mirrors }: Augmentation, random: Random): Sources {
  const sources = new Map<number, readonly number[]>()
  const before = (axis: number): readonly number[] => sources.get(axis) ?? [...Array(dims[axis] ?? 0).keys()]
  for (const axis of mirrors) {
    if (random() < 0.5) sources.set(axis, before(axis).toReversed())
  }
  for (const { axis, most } of shifts) {
    const by = Math.floor(random() * (2 * most + 1)) - most
    const unmoved = before(axis)
    const source = (at: number): number => unmoved[Math.min(unmoved.length - 1, Math.max(0, at - by))] ?? 0
    if (by !== 0) sources.set(axis, [...unmoved.keys()].map(source))
  }
  return sources
}

interface Slice {
  readonly axis: number
  readonly from: number
  readonly to: number
  /** Elements, from this axis on. */
  readonly size: number
}

function copyFrom(
  sources: Sources,
  dims: readonly number[],
  values: Float32Array,
  into: Float32Array,
  { axis, from, to, size }: Slice,
): void {
  if (![...sources.keys()].some((moves) => moves >= axis)) {
    into.set(values.subarray(from, from + size), to)
    return
  }
  const length = dims[axis] ?? 1
  const stride = size / length
  for (let at = 0; at < length; at++) {
    const source = sources.get(axis)?.[at] ?? at
    copyFrom(sources, dims, values, into, {
      axis: axis + 1,
      from: from + source * stride,
      to: to + at * stride,
      size: stride,
    })
  }
}

function floatsOf(feed: FeedTensor | undefined): Float32Array {
  if (feed?.data instanceof Float32Array) return feed.data
  throw new TypeError('samples that are changed are float32 numbers')
}
