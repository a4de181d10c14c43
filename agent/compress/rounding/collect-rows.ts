import { editGraph, type Model, node as makeNode, type Node, type Tensor } from '@edgefit/shared/onnx'
import { type Random, shuffled } from '@edgefit/shared/stats'
import { runSamples, type Sampling } from '../calibration/run-samples.ts'
import { inputReader, type LayerMatrix, outputReader, placesOf } from './layer-matrix.ts'

/**
 * | name    | shape                   |                                                        |
 * | ------- | ----------------------- | ------------------------------------------------------ |
 * | inputs  | [groups, rows, inputs]  | what the layer is given in the quantized model         |
 * | targets | [groups, rows, outputs] | what the float model makes of the same, activated      |
 */
export interface RowBatch {
  readonly inputs: Float32Array
  readonly targets: Float32Array
}

export interface Rows {
  /** Rows of each batch. */
  readonly size: number
  readonly training: readonly RowBatch[]
  /** Of the last samples, none of which is in `training` but where one sample gives all rows. */
  readonly heldOut: RowBatch
}

interface RowRequest {
  readonly node: Node
  readonly weights: Tensor
  readonly matrix: LayerMatrix
  readonly float: { readonly model: Model; readonly output: string }
  readonly quantized: { readonly model: Model; readonly input: string }
}

const MOST_ROWS = 2048
/** Of all rows together. */
const MOST_BYTES = 32 * 2 ** 20
const BATCHES = 8

/**
 * Draws places of the layer's output at random, as many of each sample, and what they are computed from. Two model runs a
 * sample, up to the layer; memory does not grow with the samples. `undefined` where there are less than two rows.
 *
 * @throws EdgefitError what `openSession` and `run` throw; the signal's reason.
 */
export async function collectRows(request: RowRequest, sampling: Sampling, random: Random): Promise<Rows | undefined> {
  const { node, matrix, float, quantized, weights } = request
  const { groups, inputs, outputs } = matrix
  const rowBytes = 4 * groups * (inputs + outputs)
  const most = Math.max(BATCHES, Math.min(MOST_ROWS, Math.floor(MOST_BYTES / rowBytes)))
  const perSample = Math.ceil(most / sampling.samples)
  const drawn: {
    readonly dims: readonly number[]
    readonly places: readonly number[]
    readonly targets: Float32Array
  }[] = []
  await runValue(sampling, float.model, float.output, ({ dims, data }) => {
    const places = shuffled(Array(placesOf(matrix, dims)).keys(), random).slice(0, perSample)
    const targets = new Float32Array(places.length * groups * outputs)
    const read = outputReader(node, matrix, dims, data)
    for (const [row, place] of places.entries()) {
      read(place, targets, row * groups * outputs, outputs)
    }
    drawn.push({ dims, places, targets })
  })

  const slots = slotsOf(
    drawn.reduce((sum, { places }) => sum + places.length, 0),
    random,
  )
  if (slots === undefined) return undefined
  const { size, batches, slotOf } = slots
  const made = Array.from({ length: batches }, () => ({
    inputs: new Float32Array(groups * size * inputs),
    targets: new Float32Array(groups * size * outputs),
  }))
  let row = 0
  await runValue(sampling, quantized.model, quantized.input, ({ dims, data }, sample) => {
    const from = drawn[sample]
    if (from === undefined) return
    const shapes = { input: dims, output: from.dims, weights: weights.dims }
    const read = inputReader(node, matrix, shapes, data)
    for (const [at, place] of from.places.entries()) {
      const slot = slotOf[row++] ?? -1
      const batch = made[Math.floor(slot / size)]
      if (batch === undefined) continue
      const inBatch = slot % size
      read(place, batch.inputs, inBatch * inputs, size * inputs)
      for (let group = 0; group < groups; group++) {
        const start = (at * groups + group) * outputs
        batch.targets.set(from.targets.subarray(start, start + outputs), (group * size + inBatch) * outputs)
      }
    }
  })
  const [heldOut, ...training] = made.reverse()
  return heldOut === undefined ? undefined : { size, training, heldOut }
}

/** Where each row goes; -1 for those left over. The last rows fill the last batch, the others are shuffled. */
function slotsOf(
  rows: number,
  random: Random,
): { readonly size: number; readonly batches: number; readonly slotOf: Int32Array } | undefined {
  if (rows < 2) return undefined
  const batches = Math.min(BATCHES, rows)
  const size = Math.floor(rows / batches)
  const slotOf = new Int32Array(rows).fill(-1)
  const forTraining = (batches - 1) * size
  for (const [slot, row] of shuffled(Array(rows - size).keys(), random).entries()) {
    if (slot < forTraining) slotOf[row] = slot
  }
  for (let at = 0; at < size; at++) slotOf[rows - size + at] = forTraining + at
  return { size, batches, slotOf }
}

interface FloatValue {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

/** `value` may be an input of the model. */
async function runValue(
  sampling: Sampling,
  model: Model,
  value: string,
  see: (value: FloatValue, sample: number) => void,
): Promise<void> {
  const editor = editGraph(model.graph)
  const name = editor.freshName(`${value}/seen`)
  editor.add(makeNode({ opType: 'Identity', inputs: [value], outputs: [name] }))
  await runSamples(sampling, { ...model, graph: editor.build() }, [name], (outputs, sample) => {
    const { dims = [], data } = outputs[name] ?? {}
    if (!(data instanceof Float32Array)) throw new TypeError(`"${value}" is not a float32 tensor`)
    see({ dims, data }, sample)
  })
}
