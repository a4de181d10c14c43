import type { Dim, Node, Shape, Tensor } from '@edgefit/shared/onnx'
import type { ChannelLabels, Labels } from './channel-labels.ts'

/** An axis with labels, or one whose length is fixed. */
export type Axis = Labels | null

/** What an axis of a constant does with channels: makes them, or reads those of another layer. */
export type MemberRole = 'filter' | 'bias' | 'norm-scale' | 'norm-shift' | 'operand' | 'reader'

/** A node as the rules see it. Positions are those of `node.inputs`. */
export interface NodeView {
  readonly node: Node
  readonly opset: number
  readonly labels: ChannelLabels
  has(position: number): boolean
  /** `undefined` when the rank is unknown. */
  shape(position: number): Shape | undefined
  outputShape(position: number): Shape | undefined
  constant(position: number): Tensor | undefined
  /** A constant of INT64. */
  ints(position: number): readonly number[] | undefined
  /** Constants get labels for an axis when first asked; a fixed axis gives null. */
  axis(position: number, axis: number): Axis
  axes(position: number): readonly Axis[]
  setRole(position: number, axis: number, role: MemberRole): void
  /** Ties two axes. Where one is fixed, or their lengths differ, the other stays as it is. */
  tie(left: Axis, right: Axis): void
  freeze(axis: Axis, reason: string): void
}

/** What a node becomes when channels go. `survivors` counts the positions that stay; `constant` stores a new one. */
export type Repair = (survivors: (axis: Labels) => number, constant: (values: readonly number[]) => string) => Node

export interface Flow {
  readonly outputs: readonly (readonly Axis[])[]
  readonly repair?: Repair
}

/** How channels pass through an operator, or, in words, why that is not known: then all its inputs stay as they are. */
export type Rule = (view: NodeView) => Flow | string
export type Rules = Readonly<Record<string, Rule>>

export const UNKNOWN_SHAPE = 'its shape is not known before it runs'

/** For operators that work along height and width: channels turned to lie there stay. */
export function freezeSpatial(view: NodeView): void {
  for (const axis of view.axes(0).slice(2)) view.freeze(axis, `${view.node.opType}: it works along them`)
}

export function sameDim(left: Dim, right: Dim): boolean {
  return left !== undefined && left === right
}

/** `axis` counted from the front. */
export function frontAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}
