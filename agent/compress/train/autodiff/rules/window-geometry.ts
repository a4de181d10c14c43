import { intsAttribute, type Node, stringAttribute } from '@edgefit/shared/onnx'

/** How a window slides over a `large` tensor, one step for each place of a `small` one. One entry per spatial axis. */
export interface WindowGeometry {
  readonly large: readonly number[]
  readonly small: readonly number[]
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly padsBegin: readonly number[]
  /**
   * How far the last window reaches beyond the end, whatever the node says: with strides it may stop short of the
   * padding, and with `ceil_mode` go beyond it. Negative where the last elements are under no window.
   */
  readonly padsEnd: readonly number[]
}

type Sides = Pick<WindowGeometry, 'large' | 'small' | 'kernel'>

/**
 * Attributes left out and `auto_pad` resolved, from the shapes on both sides.
 *
 * @param outputPadding of a transposed convolution, which then counts as reached where padding is placed
 */
export function windowGeometry(node: Node, sides: Sides, outputPadding: readonly number[] = []): WindowGeometry {
  const { large, small, kernel } = sides
  const ones = kernel.map(() => 1)
  const strides = intsAttribute(node, 'strides', ones)
  const dilations = intsAttribute(node, 'dilations', ones)
  const beyond = kernel.map((length, axis) => {
    const reach = of(dilations, axis) * (length - 1) + 1
    return of(strides, axis) * (of(small, axis) - 1) + reach - of(large, axis)
  })
  const padsBegin = begins(
    node,
    beyond.map((total, axis) => Math.max(0, total + (outputPadding[axis] ?? 0))),
  )
  const padsEnd = beyond.map((total, axis) => total - of(padsBegin, axis))
  return { large, small, kernel, strides, dilations, padsBegin, padsEnd }
}

function begins(node: Node, totals: readonly number[]): readonly number[] {
  switch (stringAttribute(node, 'auto_pad', 'NOTSET')) {
    case 'SAME_UPPER':
      return totals.map((total) => Math.floor(total / 2))
    case 'SAME_LOWER':
      return totals.map((total) => Math.ceil(total / 2))
    case 'VALID':
      return totals.map(() => 0)
    default: {
      const pads = intsAttribute(node, 'pads', [])
      return totals.map((_, axis) => pads[axis] ?? 0)
    }
  }
}

/** A place in the kernel, one index per axis. */
export type Tap = readonly number[]

/** Every place of a kernel, row-major. */
export function tapsOf(kernel: readonly number[]): readonly Tap[] {
  return kernel.reduce<readonly Tap[]>(
    (taps, length) => taps.flatMap((tap) => Array.from({ length }, (_, index) => [...tap, index])),
    [[]],
  )
}

/** The element of `list` at an axis that is there. */
export function of(list: readonly number[], axis: number): number {
  return list[axis] ?? 0
}
