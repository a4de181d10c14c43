import { elementCount, floatTensor, intValue, stringValue } from '@edgefit/shared/onnx'
import type { RemovableChannels } from '../trainable.ts'
import type { StepEmitter } from './step-emitter.ts'

const FLOAT = intValue(1)

/** A weight and the channels that its slices are part of. */
export interface ChannelledWeight {
  readonly dims: readonly number[]
  readonly removable: RemovableChannels
}

/** Channels of several weights. Vectors have one entry for each, and a last one for the positions that have to stay. */
export interface ChannelNorms {
  /** √n of the n elements of each channel; the last is 0. */
  readonly roots: string
  /** Emits the Euclidean norm of each channel. Values are given in the order of the weights. */
  of(values: readonly string[]): string
  /** Emits 1 for this share of each layer's channels, those of the smallest norms, and 0 for the others. */
  smallest(share: number, norms: string): string
  /** Emits the values less this share of each channel: with a share of 1 exactly zero. */
  less(shares: string, values: readonly string[]): readonly string[]
}

/** How many channels of a layer are this share of them, rounded down. */
export function smallestCount(channels: number, share: number): number {
  return Math.floor(channels * share + 1e-9)
}

export function channelNorms(emit: StepEmitter, weights: readonly ChannelledWeight[]): ChannelNorms {
  const last = 1 + Math.max(...weights.flatMap(({ removable }) => [...removable.numbers]))
  const sizes = new Float32Array(last + 1)
  const laid = weights.map(({ dims, removable: { axis, numbers } }) => {
    const inner = elementCount(dims.slice(axis + 1))
    const shape = [elementCount(dims.slice(0, axis)), numbers.length, inner]
    for (const number of numbers)
      if (number !== -1) sizes[number] = (sizes[number] ?? 0) + elementCount(dims) / numbers.length
    return { dims, shape, entries: [...numbers].map((number) => (number === -1 ? last : number)) }
  })
  const vector = (values: Float32Array): string => emit.constant(floatTensor('grad/channels', [values.length], values))
  const none = vector(new Float32Array(last + 1))
  const allEntries = emit.ints(laid.flatMap(({ entries }) => entries))

  const spans = [
    ...new Map(weights.flatMap(({ removable }) => removable.spans).map((span) => [span[0], span])).values(),
  ]
  const spanOf = emit.ints(
    [...sizes.keys()].map((at) => {
      const found = spans.findIndex(([first, end]) => first <= at && at < end)
      return found === -1 ? spans.length : found
    }),
  )
  /** Less than any norm. */
  const nothing = vector(Float32Array.of(-1))

  return {
    roots: vector(sizes.map(Math.sqrt)),
    of: (values) => {
      const squares = laid.map(({ shape }, at) => {
        const value = emit.reshape(values[at] ?? '', shape)
        return emit.reduceSum(emit.add('Mul', [value, value]), [0, 2], false)
      })
      const slices = emit.add('Concat', squares, { axis: intValue(0) })
      const attributes = { axis: intValue(0), reduction: stringValue('add') }
      return emit.add('Sqrt', [emit.add('ScatterElements', [none, allEntries, slices], attributes)])
    },
    smallest: (share, norms) => {
      const limits = spans.map(([first, end]) => {
        const count = smallestCount(end - first, share)
        if (count === 0) return nothing
        const own = emit.add('Slice', [norms, emit.ints([first]), emit.ints([end])])
        const attributes = { largest: intValue(0), sorted: intValue(0) }
        const [least = ''] = emit.addMany('TopK', [own, emit.ints([count])], 2, attributes)
        return emit.reduce('ReduceMax', least, [0], true)
      })
      const limit = emit.add('Gather', [emit.add('Concat', [...limits, nothing], { axis: intValue(0) }), spanOf])
      return emit.add('Cast', [emit.add('LessOrEqual', [norms, limit])], { to: FLOAT })
    },
    less: (shares, values) =>
      laid.map(({ dims, shape, entries }, at) => {
        const value = emit.reshape(values[at] ?? '', shape)
        const own = emit.reshape(emit.add('Gather', [shares, emit.ints(entries)]), [entries.length, 1])
        return emit.reshape(emit.add('Sub', [value, emit.add('Mul', [value, own])]), dims)
      }),
  }
}
