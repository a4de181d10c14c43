/**
 * Labels of the positions along one axis; equal classes are removed together. Index maps (concatenation, flattening,
 * groups of a convolution) are therefore nothing but arrays: position → label.
 */
export type Labels = Int32Array

/** Union-find over labels, with the reason why a class must stay. */
export interface ChannelLabels {
  fresh(length: number): Labels
  /** The class of a label; changes as classes are joined. */
  classOf(label: number): number
  join(left: number, right: number): void
  /** Joins position by position. @throws RangeError when the lengths differ. */
  tie(left: Labels, right: Labels): void
  /** The first reason that a class is given is kept. */
  freeze(labels: Labels, reason: string): void
  frozenBecause(label: number): string | undefined
  /** Distinct classes. */
  countClasses(labels: Labels): number
}

export function channelLabels(): ChannelLabels {
  const parents: number[] = []
  const reasons = new Map<number, string>()

  function classOf(label: number): number {
    let root = label
    for (let parent = parents[root]; parent !== undefined && parent !== root; parent = parents[root]) root = parent
    for (let at = label; at !== root; ) {
      const next = parents[at] ?? root
      parents[at] = root
      at = next
    }
    return root
  }

  function join(left: number, right: number): void {
    const one = classOf(left)
    const other = classOf(right)
    if (one === other) return
    // The lower label wins, so that a class is known by where it first appeared.
    const [root, child] = one < other ? [one, other] : [other, one]
    parents[child] = root
    const reason = reasons.get(root) ?? reasons.get(child)
    if (reason !== undefined) reasons.set(root, reason)
  }

  return {
    fresh(length) {
      const first = parents.length
      for (let label = first; label < first + length; label++) parents.push(label)
      return Int32Array.from({ length }, (_, at) => first + at)
    },
    classOf,
    join,
    tie(left, right) {
      if (left === right) return
      if (left.length !== right.length) throw new RangeError(`${left.length} channels do not meet ${right.length}`)
      for (const [at, label] of left.entries()) join(label, right[at] ?? label)
    },
    freeze(labels, reason) {
      for (const label of labels) {
        const root = classOf(label)
        if (!reasons.has(root)) reasons.set(root, reason)
      }
    },
    frozenBecause: (label) => reasons.get(classOf(label)),
    countClasses: (labels) => new Set(labels.map(classOf)).size,
  }
}
