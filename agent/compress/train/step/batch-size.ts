import { EdgefitError } from '@edgefit/shared'
import { freeInputs, inferShapes, type Model, type ValueInfo } from '@edgefit/shared/onnx'

/**
 * `model` for batches of `batch` samples, with every shape that follows from it.
 *
 * @throws EdgefitError MODEL_UNSUPPORTED when an input has another length that is not fixed; RECIPE_INVALID when the
 * batch is fixed in the model to another size.
 */
export function withBatch(model: Model, batch: number): Model {
  const free = new Set(freeInputs(model.graph))
  const inputs = model.graph.inputs.map((input) => (free.has(input) ? bound(input, batch) : input))
  const outputs = model.graph.outputs.map((output) => ({ name: output.name }))
  return inferShapes({ ...model, graph: { ...model.graph, inputs, outputs, valueInfo: new Map() } })
}

function bound(input: ValueInfo, batch: number): ValueInfo {
  const { name, type } = input
  if (type?.kind !== 'tensor' || type.shape === undefined) {
    throw new EdgefitError(`the shape of input "${name}" is unknown; export the model with fixed lengths`, {
      code: 'MODEL_UNSUPPORTED',
      details: { input: name },
    })
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
