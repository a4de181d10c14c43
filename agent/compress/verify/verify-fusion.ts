import { EdgefitError } from '@edgefit/shared'
import { indexGraph, intAttribute, type Model, type Node } from '@edgefit/shared/onnx'
import { notesByReason } from '../pass-report.ts'
import type { OptimizedGraph } from '../runtime-port.ts'
import { compareKernels, type Miss } from './compare.ts'
import { predictKernels } from './predict.ts'
import { type QuantizedGraph, quantizedGraph } from './quantized-graph.ts'

/**
 * What the runtime of this box makes of a quantized model, for people: the integer kernels it executes, and each operator
 * that is left in float against the model's intention, with the reason. Empty for a model without quantization.
 *
 * Never fails: a model that the runtime refuses gets a note, whoever runs it gets the error.
 */
export async function verifyFusion(
  model: Model,
  bytes: Uint8Array,
  optimizedGraph: OptimizedGraph,
): Promise<readonly string[]> {
  const predictions = predictKernels(model)
  const isHalf = computesInHalf(model)
  if (predictions.length === 0 && !isHalf) return []
  let executed: Model
  try {
    executed = await optimizedGraph(bytes)
  } catch (cause) {
    if (!(cause instanceof EdgefitError)) throw cause
    return [`what the runtime executes could not be checked: ${cause.message}`]
  }
  const graph = quantizedGraph(model.graph)
  const { kernels, misses } = compareKernels(predictions, executed)
  const counts = [...kernels].map(([opType, count]) => (count === 1 ? opType : `${opType} ×${count}`))
  return [
    ...(counts.length === 0 ? [] : [`the runtime executes as intended: ${counts.join(', ')}`]),
    ...notesByReason(misses.map((miss) => ({ node: miss.node, reason: reasonOf(graph, miss) }))),
    ...(isHalf ? castNotes(model, executed) : []),
  ]
}

function reasonOf(graph: QuantizedGraph, { node, expected, found, causes }: Miss): string {
  if (expected.length === 0)
    return 'is computed in float between two conversions, the runtime has no integer kernel for it'
  const instead = found === undefined || expected.includes(found) ? 'in float' : `as ${found} in float`
  const why = causes.length > 0 ? causes.join('; ') : unexplained(graph, node)
  return `runs ${instead}, not as ${expected.join(' or ')}: ${why}`
}

/** For what keeps all the rules that {@link predictKernels} knows. */
function unexplained(graph: QuantizedGraph, { inputs, outputs: [output = ''] }: Node): string {
  const to = graph.destination(output)
  const conversions = [...inputs.map((value) => graph.dequantizer(value)), to.kind === 'quantized' ? to.by : undefined]
  return conversions.some((one) => one !== undefined && isSignedActivation(graph, one))
    ? 'its activations are int8, which on x64 the runtime makes uint8 only where a single operator reads them: use uint8'
    : 'it keeps every known rule, the runtime does not say why'
}

function isSignedActivation({ index, affine }: QuantizedGraph, conversion: Node): boolean {
  return index.constant(conversion.inputs[0] ?? '') === undefined && affine(conversion)?.dataType === 'INT8'
}

const FLOAT16 = 10

function computesInHalf({ graph }: Model): boolean {
  return graph.nodes.some((node) => node.opType === 'Cast' && intAttribute(node, 'to', 0) === FLOAT16)
}

/** Where the runtime has no float16 kernel it converts to float32 and back, on every run. */
function castNotes(model: Model, executed: Model): readonly string[] {
  const own = new Set(model.graph.nodes.flatMap(({ outputs }) => outputs))
  const added = executed.graph.nodes.filter(
    ({ opType, outputs }) => opType === 'Cast' && outputs.every((output) => !own.has(output)),
  )
  if (added.length === 0) return []
  const { consumers } = indexGraph(executed.graph)
  const readers = added.flatMap(({ outputs: [output = ''] }) => consumers(output).map(({ node }) => node.opType))
  const types = [...new Set(readers)].filter((opType) => opType !== 'Cast').sort()
  return [
    `the runtime adds ${added.length} conversions between float16 and float32, for want of float16 kernels here: ${types.join(', ')}`,
  ]
}
