import { EdgefitError } from '@edgefit/shared'
import { asFloat32, type GraphIndex, indexGraph, type Model, type Node, type Tensor } from '@edgefit/shared/onnx'
import { type Random, seededRandom } from '@edgefit/shared/stats'
import type { Sampling } from '../calibration/run-samples.ts'
import { nodeLabel } from '../node-label.ts'
import { notesByReason } from '../pass-report.ts'
import { collectRows } from './collect-rows.ts'
import { asMatrix, forEachWeight, layerMatrix } from './layer-matrix.ts'
import { type RoundingSettings, roundLayer } from './round-layer.ts'
import type { RoundingProblem } from './rounding-step.ts'
import { type Roundings, type RoundUp, roundUpWhere } from './roundings.ts'

/** A layer whose weights are to be quantized. */
export interface RoundableLayer {
  /** In the float model. */
  readonly node: Node
  readonly weights: Tensor
  readonly bias?: Tensor | undefined
  /** The weights dequantized, each rounded as `roundUp` says. */
  dequantized(roundUp: RoundUp): Float32Array
}

export interface Roundable {
  /** Before quantization, in the form that was quantized. */
  readonly float: Model
  /** In graph order. */
  readonly layers: readonly RoundableLayer[]
  quantized(roundings: Roundings): Model
  /** The value of `quantized` that the layer reads. */
  inputOf(quantized: Model, layer: RoundableLayer): string
}

interface AdaptiveRounding extends RoundingSettings {
  /** Of the rows that are drawn. */
  readonly seed: number
}

interface FoundRoundings {
  /** Of the layers that gain by it. */
  readonly roundings: Roundings
  /** What is rounded to nearest, and why. */
  readonly notes: readonly string[]
}

/**
 * Adaptive rounding (AdaRound: Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, arXiv
 * 2004.10568): layer by layer from the inputs on, weights go up or down so that the layer, fed by the model quantized so
 * far, gives what it gives in the float model. A Relu, Clip or LeakyRelu right after it counts in.
 *
 * A layer whose error on samples held out does not shrink is rounded to nearest. Rows of one layer at a time are held.
 *
 * @param onProgress counts layers; fractions within a layer
 * @throws EdgefitError PASS_FAILED naming a layer whose outputs are not finite; what the runtime throws; the signal's reason.
 */
export async function roundAdaptively(
  { float, layers, quantized, inputOf }: Roundable,
  settings: AdaptiveRounding,
  sampling: Sampling,
  onProgress?: (done: number, total: number) => void,
): Promise<FoundRoundings> {
  const index = indexGraph(float.graph)
  const random = seededRandom(settings.seed)
  const roundings = new Map<string, RoundUp>()
  const left: { node: Node; reason: string }[] = []
  for (const [at, layer] of layers.entries()) {
    sampling.signal.throwIfAborted()
    onProgress?.(at, layers.length)
    const onShare = (share: number): void => onProgress?.(at + share, layers.length)
    const model = quantized(roundings)
    const scene: Scene = { float, index, quantized: model, input: inputOf(model, layer), random, onShare }
    const found = await roundingOf(layer, layers, scene, settings, sampling)
    if (typeof found === 'string') left.push({ node: layer.node, reason: `rounded to nearest, ${found}` })
    else roundings.set(layer.weights.name, found)
  }
  onProgress?.(layers.length, layers.length)
  return { roundings, notes: notesByReason(left) }
}

interface Scene {
  readonly float: Model
  readonly index: GraphIndex
  /** With the layers before this one as they will be. */
  readonly quantized: Model
  readonly input: string
  readonly random: Random
  readonly onShare: (share: number) => void
}

/** Weights times rows times iterations: some two minutes of one core of a small board. */
const MOST_PRODUCTS = 4e11
/** Fewer do not get weights to where they stay. */
const LEAST_ITERATIONS = 200

/** So much less error than rounded to nearest on the rows held out: of few rows, less may be chance. */
function leastGain(rows: number): number {
  return 2 / rows
}

/** Or why the layer is rounded to nearest. */
async function roundingOf(
  layer: RoundableLayer,
  layers: readonly RoundableLayer[],
  { float, index, quantized, input, random, onShare }: Scene,
  settings: AdaptiveRounding,
  sampling: Sampling,
): Promise<RoundUp | string> {
  const { node, weights } = layer
  const matrix = layerMatrix(node, weights)
  if (matrix === undefined) return 'its weights are not a matrix'
  if (layers.some((other) => other !== layer && other.weights.name === weights.name)) return 'others share its weights'
  const count = asFloat32(weights).length
  const activation = activationAfter(index, node)
  const output = activation?.node.outputs[0] ?? node.outputs[0] ?? ''
  const rows = await collectRows(
    { node, weights, matrix, float: { model: float, output }, quantized: { model: quantized, input } },
    sampling,
    random,
  )
  if (rows === undefined) return 'the samples give it less than two rows'
  const iterations = Math.min(settings.iterations, Math.floor(MOST_PRODUCTS / (count * rows.size)))
  if (iterations < Math.min(settings.iterations, LEAST_ITERATIONS)) return 'it has too many weights'

  const down = layer.dequantized(roundUpWhere(count, () => false))
  const up = layer.dequantized(roundUpWhere(count, () => true))
  const gap = up.map((value, at) => value - (down[at] ?? 0))
  const fractions = asFloat32(weights).map((value, at) => fractionOf(value - (down[at] ?? 0), gap[at] ?? 0))
  const problem: RoundingProblem = {
    matrix,
    down: asMatrix(matrix, down),
    gap: asMatrix(matrix, gap),
    bias: layer.bias && asFloat32(layer.bias),
    activation,
  }
  const { openSession, threads, signal } = sampling
  const ports = { openSession, threads, signal, onIteration: (done: number) => onShare(done / iterations) }
  const found = await roundLayer(problem, asMatrix(matrix, fractions), rows, { ...settings, iterations }, ports).catch(
    (cause: unknown) => {
      throw named(nodeLabel(node), cause)
    },
  )
  if (found.errorRatio > 1 - leastGain(rows.size)) return 'nothing else was clearly better on samples held out'
  const ups = new Uint8Array(count)
  let at = 0
  forEachWeight(matrix, (place) => {
    ups[place] = found.isUp(at++) ? 1 : 0
  })
  return roundUpWhere(count, (place) => ups[place] === 1)
}

function fractionOf(above: number, gap: number): number {
  return gap === 0 ? 0 : Math.min(1, Math.max(0, above / gap))
}

const ACTIVATIONS: ReadonlySet<string> = new Set(['Relu', 'Clip', 'LeakyRelu'])

/** The operator that alone reads the layer's output and takes it as it comes. */
function activationAfter(index: GraphIndex, { outputs: [output = ''] }: Node): RoundingProblem['activation'] {
  const [use, ...others] = index.consumers(output)
  if (use === undefined || others.length > 0 || use.input !== 0 || index.isGraphOutput(output)) return undefined
  if (!ACTIVATIONS.has(use.node.opType) || use.node.domain !== '') return undefined
  const operands = use.node.inputs.slice(1).filter((name) => name !== '')
  const constants = operands.flatMap((name) => index.constant(name) ?? [])
  return constants.length === operands.length ? { node: use.node, constants } : undefined
}

function named(layer: string, cause: unknown): unknown {
  if (!(cause instanceof EdgefitError)) return cause
  const { code, message, details } = cause
  return new EdgefitError(`layer "${layer}": ${message}`, { code, details: { ...details, layer }, cause })
}
