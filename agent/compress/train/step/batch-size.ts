import { EdgefitError } from '@edgefit/shared'
import { freeInputs, inferShapes, type Model, type ValueInfo } from '@edgefit/shared/onnx'

/**
 * `model` for batches of `batch` samples, with every shape that follows from it.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when an input has another length that is not fixed or the inputs
 * have no batch axis; RECIPE_INVALID when the
 * batch is fixed in the model to another size.
 */
export function withBatch(model: Model, batch: number): Model {
  const free = new Set(freeInputs(model.graph))
  requireOneBatch(model.graph.inputs.filter((input) => free.has(input)))
  const inputs = model.graph.inputs.map((input) => (free.has(input) ? bound(input, batch) : input))
  const outputs = model.graph.outputs.map((output) => ({ name: output.name }))
  return inferShapes({ ...model, graph: { ...model.graph, inputs, outputs, valueInfo: new Map() } })
}

/** Where first lengths are fixed, and not to the same, they do not count samples. */
function requireOneBatch(inputs: readonly ValueInfo[]): void {
  const firsts = inputs.flatMap(({ name, type }) => {
    const first = type?.kind === 'tensor' ? type.shape?.[0] : undefined
    return typeof first === 'number' ? [{ name, first }] : []
  })
  const [one] = firsts
  const other = firsts.find(({ first }) => first !== one?.first)
  if (one === undefined || other === undefined) return
  throw new EdgefitError(
    `inputs "${one.name}" and "${other.name}" have no batch axis in common: their first lengths are fixed to ${one.first} ` +
      `and ${other.first}; export the model with a batch axis in front of every input`,
    { code: 'MODEL_UNSUPPORTED', details: { inputs: [one.name, other.name] } },
  )
}

function bound(input: ValueInfo, batch: number): ValueInfo {
  const { name, type } = input
  if (type?.kind !== 'tensor' || type.shape === undefined) {
    throw new EdgefitError(`the shape of input "${name}" is unknown; export the model with fixed lengths`, {
      code: 'MODEL_UNSUPPORTED',
      details: { input: name },
    })
  }
  if (type.shape.length === 0) {
    throw new EdgefitError(
      `input "${name}" is a single number and has no batch axis; export the model with it as a constant to train it`,
      { code: 'MODEL_UNSUPPORTED', details: { input: name } },
    )
  }
  const [first, ...rest] = type.shape
  const open = rest.find((dim) => typeof dim !== 'number')
  if (open !== undefined || rest.includes(undefined)) {
    throw new EdgefitError(
      `input "${name}" has a length "${open ?? '?'}" besides the batch that is not fixed; export the model with it fixed to train it`,
      { code: 'MODEL_UNSUPPORTED', details: { input: name } },
    )
  }
  if (typeof first === 'number' && first !== batch) {
    throw new EdgefitError(`input "${name}" has its batch fixed to ${first}; set "batch" to ${first}`, {
      code: 'RECIPE_INVALID',
      details: { input: name, batch, fixed: first },
    })
  }
  return { ...input, type: { ...type, shape: [batch, ...rest] } }
}
