import { EdgefitError } from '@edgefit/shared'
import type { Digest, Pass, TensorSpec } from '@edgefit/shared/model'
import { describeIo, elementCount, type Model } from '@edgefit/shared/onnx'
import type { PassResult } from './pass-report.ts'
import { scoresOf } from './train/step/build-step.ts'

/** A model of the user's that is to replace the source. */
export interface Student {
  readonly model: Model
  /** SHA-256 of its file. */
  readonly digest: Digest
}

/**
 * Puts `student` in the place of `source`.
 *
 * @throws EdgefitError RECIPE_INVALID without a student, or with another one than the recipe names; INPUT_INVALID for one
 * that cannot replace the source.
 */
export function takeStudent(
  source: Model,
  { digest }: Extract<Pass, { pass: 'take-student' }>,
  student: Student | undefined,
): PassResult {
  if (student?.digest !== digest) {
    const given = student === undefined ? 'none was given' : `the one given is ${student.digest}`
    throw new EdgefitError(
      `"digest" asks for the student ${digest} and ${given}; hand over the file that the recipe was made with`,
      { code: 'RECIPE_INVALID', details: { digest, given: student?.digest } },
    )
  }
  requireReplacement(source, student.model)
  return { model: student.model, notes: [sizeNote(source, student.model), ...scoreNotes(source, student.model)] }
}

/**
 * Whether applications can run `student` where `source` ran: the same inputs and outputs by name, type and shape.
 *
 * @throws EdgefitError INPUT_INVALID naming the input or output at fault; what `describeIo` throws.
 */
export function requireReplacement(source: Model, student: Model): void {
  const [wanted, given] = [describeIo(source), describeIo(student)]
  const byName = new Map(given.inputs.map((input) => [input.name, input]))
  for (const input of wanted.inputs) requireAlike('input', 'takes', input, byName.get(input.name))
  const known = new Set(wanted.inputs.map(({ name }) => name))
  const more = given.inputs.find(({ name }) => !known.has(name))
  if (more !== undefined) {
    throw unfit(`the student takes an input "${more.name}" besides, which the source does not have`, 'input', more)
  }
  for (const [at, output] of wanted.outputs.entries()) requireAlike('output', 'gives', output, given.outputs[at])
  const extra = given.outputs[wanted.outputs.length]
  if (extra !== undefined) {
    throw unfit(`the student gives an output "${extra.name}" besides, which the source does not have`, 'output', extra)
  }
}

function requireAlike(kind: 'input' | 'output', verb: string, wanted: TensorSpec, given: TensorSpec | undefined): void {
  if (given === undefined) {
    throw unfit(`the student has no ${kind} "${wanted.name}" ${typeOf(wanted)}, which the source has`, kind, wanted)
  }
  const fits = (dim: number | string | null, at: number): boolean => {
    const own = given.dims[at]
    return typeof dim !== 'number' || typeof own !== 'number' || dim === own
  }
  const alike = given.name === wanted.name && given.type === wanted.type && given.dims.length === wanted.dims.length
  if (alike && wanted.dims.every(fits)) return
  throw unfit(
    `the student ${verb} ${typeOf(given)} as "${given.name}", the source ${typeOf(wanted)} as "${wanted.name}"`,
    kind,
    wanted,
  )
}

function unfit(what: string, kind: 'input' | 'output', { name }: TensorSpec): EdgefitError {
  return new EdgefitError(
    `${what}; a student replaces the source: export it with the same inputs, outputs and classes, by the same names`,
    { code: 'INPUT_INVALID', details: { [kind]: name } },
  )
}

function typeOf({ type, dims }: TensorSpec): string {
  return `${type} [${dims.map((dim) => dim ?? '?').join(', ')}]`
}

function sizeNote(source: Model, student: Model): string {
  return `the student has ${parametersOf(student)} float parameters, the source ${parametersOf(source)}`
}

function parametersOf({ graph }: Model): number {
  return [...graph.initializers.values()].reduce(
    (sum, { dataType, dims }) => sum + (dataType === 'FLOAT' ? elementCount(dims) : 0),
    0,
  )
}

/** Equal shapes may still mean other numbers: whoever reads probabilities is not served by scores. */
function scoreNotes(source: Model, student: Model): readonly string[] {
  const squashes = ({ graph }: Model): boolean => scoresOf(graph, { kind: 'distillation' }) !== graph.outputs[0]?.name
  if (squashes(source) === squashes(student)) return []
  return [
    squashes(source)
      ? 'the source gives probabilities, the student the scores before them: mind what reads them'
      : 'the source gives scores, the student probabilities: mind what reads them',
  ]
}
