import { EdgefitError } from '@edgefit/shared'
import type { Task } from '@edgefit/shared/model'
import { indexGraph, type Model } from '@edgefit/shared/onnx'
import type { OpenSession } from '../runtime-port.ts'
import { drawnLabels } from '../train/drawn-labels.ts'
import type { Loss } from '../train/step/losses.ts'
import type { TrainingData } from '../train/training-data.ts'
import { firstOrderTerms, type WeightAxis } from '../train/weight-gradients.ts'
import type { ChannelGroup, GroupMember } from './dependency-groups.ts'
import { type Importance, isWeight } from './importance.ts'

/** What gradients are taken of. */
export interface GradientSource {
  readonly data: TrainingData
  /** What `data` is, for people. */
  readonly split: 'training' | 'calibration'
  /** Says what the outputs mean, and so what the loss is. */
  readonly task: Task
}

export interface TaylorOptions {
  readonly samples: number
  readonly openSession: OpenSession
  readonly threads: number
  readonly onProgress: (done: number, total: number) => void
  readonly signal: AbortSignal
}

export interface JudgedChannels {
  readonly importance: Importance
  /** How it was found, and what stays because it is not known. */
  readonly notes: readonly string[]
}

/**
 * What the loss makes of channels (Molchanov et al., arXiv 1906.10771): the change by removing one, to first order, is
 * Σ g w over its weights in a layer. Its square, in the mean over batches, summed over the layers that make and read
 * it.
 *
 * With labels the loss is against them; without, against labels drawn from what the model says, as for its Fisher
 * information. Scores of different groups compare: all are of the same loss.
 *
 * @param model that the groups are of
 * @throws EdgefitError RECIPE_INVALID for a task or outputs that no loss is known for; MODEL_UNSUPPORTED when no group
 * has gradients; what `firstOrderTerms` throws.
 */
export async function taylorImportance(
  model: Model,
  groups: readonly ChannelGroup[],
  { data: given, split, task }: GradientSource,
  options: TaylorOptions,
): Promise<JudgedChannels> {
  const loss = lossFor(model, task)
  const drawn = given.hasLabels ? undefined : await drawnLabels(model, { data: given, loss, ...options })
  const data = drawn?.data ?? given
  const parts = groups.flatMap((group) => group.members.filter(isWeight).map((member) => ({ group, member })))
  const axes = parts.map(({ member }): WeightAxis => ({ weight: member.tensor, axis: member.axis }))
  const sums = new Map(groups.map((group) => [group, new Float64Array(group.channels.length)]))
  let batches = 0
  try {
    const { missing, samples } = await firstOrderTerms(model, axes, { ...options, data, loss }, (terms) => {
      batches++
      for (const [at, { group, member }] of parts.entries()) {
        addSquares(sums.get(group), member, terms[at] ?? new Float32Array())
      }
    })
    const unknown = parts.filter(({ member }) => missing.has(member.tensor))
    for (const { group } of unknown) sums.delete(group)
    if (sums.size === 0) throw nothingKnown(unknown[0]?.member.tensor ?? '', missing)
    return {
      importance: (_, group) => sums.get(group)?.map((sum) => sum / batches),
      notes: [
        `importance by gradients of ${samples} ${split} samples, ` +
          (drawn === undefined ? 'by their labels' : "by labels drawn from the model's own answers"),
        ...new Set(
          unknown.map(({ group, member }) => `channels of "${group.value}" stay, ${whyNot(member.tensor, missing)}`),
        ),
      ],
    }
  } finally {
    await drawn?.release()
  }
}

/** Adds (Σ g w)² of each channel of the member. */
function addSquares(sums: Float64Array | undefined, { positions }: GroupMember, terms: Float32Array): void {
  if (sums === undefined) return
  for (const [channel, own] of positions.entries()) {
    const term = own.reduce((sum, at) => sum + (terms[at] ?? 0), 0)
    sums[channel] = (sums[channel] ?? 0) + term * term
  }
}

function lossFor(model: Model, task: Task): Loss {
  const [output] = model.graph.outputs
  const dims = indexGraph(model.graph).shapeOf(output?.name ?? '') ?? []
  const isRow = dims.length === 2 && dims[1] !== 1
  switch (task.kind) {
    case 'classification':
      if (isRow) return { kind: 'cross-entropy', labelSmoothing: 0 }
      throw unsuited(
        `needs a row of class scores a sample, and "${output?.name}" is [${dims.map((dim) => dim ?? '?').join(', ')}]`,
      )
    case 'binary-score':
      return isRow ? { kind: 'cross-entropy', labelSmoothing: 0 } : { kind: 'binary-cross-entropy' }
    case 'regression':
      return { kind: 'mean-squared-error' }
    case 'custom':
      throw unsuited('has no loss for a task of kind "custom"')
  }
}

function unsuited(why: string): EdgefitError {
  return new EdgefitError(`importance "taylor" ${why}; choose another importance`, { code: 'RECIPE_INVALID' })
}

function nothingKnown(weight: string, missing: ReadonlyMap<string, string>): EdgefitError {
  return new EdgefitError(
    `importance "taylor" knows of no channel: ${whyNot(weight, missing)}; choose another importance`,
    { code: 'MODEL_UNSUPPORTED', details: { missing: Object.fromEntries(missing) } },
  )
}

function whyNot(weight: string, missing: ReadonlyMap<string, string>): string {
  return `"${weight}" has no gradient: ${missing.get(weight)}`
}
