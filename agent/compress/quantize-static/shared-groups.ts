import type { Node } from '@edgefit/shared/onnx'
import type { Interval } from '../affine.ts'
import { NO_BOUNDS, type Role } from '../operator-roles.ts'
import type { Selection } from './select.ts'

/** Scale and zero point that several points have in common. */
export interface Group {
  readonly leader: string
  /** Values whose observed ranges make up the group's; empty when `fixed`. */
  readonly observe: readonly string[]
  readonly fixed?: Interval
  /** Of the Relu or Clip that the quantization has to make redundant. */
  readonly bounds: Interval
}

/**
 * Which points must, or had better, have one scale and zero point.
 *
 * Operators that only move values must, or the runtime falls back to float around them. A Concat copies bytes when its
 * inputs and output agree, so they are put together, unless one of them has bounds of its own that a wider range would
 * break: then the Concat rescales.
 */
export function sharedGroups(
  selection: Selection,
  points: ReadonlyMap<string, unknown>,
): { readonly groups: readonly Group[]; leaderOf(tensor: string): string } {
  const { index } = selection
  const leaders = new Map<string, string>()
  const leaderOf = (tensor: string): string => {
    let leader = tensor
    for (let next = leaders.get(leader); next !== undefined; next = leaders.get(leader)) leader = next
    return leader
  }
  /** Points that hold nothing but values of others. */
  const moved = new Set<string>()
  const traits = (tensor: string): Traits => traitsOf(selection, index.producer(leaderOf(tensor)))

  for (const node of selection.nodes) {
    const role = selection.roleOf(node)
    const outputs = node.outputs.filter((output) => points.has(output))
    const [first = '', ...others] = node.inputs
    if (role.kind === 'passing') {
      join(outputs, first)
    } else if (node.opType === 'Concat' && outputs.length > 0) {
      if (!node.inputs.every((value) => points.has(value) && agree(traits(value), traits(first)))) continue
      join([...others, ...outputs], first)
    } else continue
    for (const output of outputs) moved.add(output)
  }

  function join(followers: readonly string[], leader: string): void {
    for (const follower of followers) {
      const from = leaderOf(follower)
      const to = leaderOf(leader)
      if (from !== to) leaders.set(from, to)
    }
  }

  const members = new Map<string, string[]>()
  for (const tensor of points.keys()) {
    const leader = leaderOf(tensor)
    const list = members.get(leader)
    if (list === undefined) members.set(leader, [tensor])
    else list.push(tensor)
  }
  return {
    leaderOf,
    groups: [...members].map(([leader, tensors]): Group => {
      const { fixed, bounds } = traits(leader)
      const made = tensors.filter((tensor) => !moved.has(tensor))
      return { leader, bounds, ...(fixed === undefined ? { observe: made } : { observe: [], fixed }) }
    }),
  }
}

interface Traits {
  readonly fixed?: Interval
  readonly bounds: Interval
}

function traitsOf(selection: Selection, producer: Node | undefined): Traits {
  const role: Role | undefined = producer === undefined ? undefined : selection.roleOf(producer)
  if (role?.kind !== 'light') return { bounds: NO_BOUNDS }
  return { bounds: role.bounds ?? NO_BOUNDS, ...(role.fixed === undefined ? {} : { fixed: role.fixed }) }
}

function agree(a: Traits, b: Traits): boolean {
  return (
    a.fixed === undefined && b.fixed === undefined && a.bounds.min === b.bounds.min && a.bounds.max === b.bounds.max
  )
}
