import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import { type GraphIndex, indexGraph, inferShapes, type Model, type Shape } from '@edgefit/shared/onnx'
import { scoresOf } from './step/build-step.ts'

type Lesson = Pick<Training, 'loss' | 'hints'>

/** Whether training by it asks a teacher. */
export function isTaught({ loss, hints }: Lesson): boolean {
  return loss.kind === 'distillation' || hints.length > 0
}

/**
 * Whether `teacher` has the values that the hints name: all that can be told before other passes have made the student.
 *
 * @throws EdgefitError RECIPE_INVALID naming the hint.
 */
export function requireHintValues({ hints }: Pick<Lesson, 'hints'>, teacher: Model): void {
  const index = indexGraph(teacher.graph)
  for (const [at, { value, from = value }] of hints.entries()) requireValue(index, from, `hints[${at}].from`, 'teacher')
}

/**
 * Whether `student` can learn from `teacher`, by their shapes: as many classes, and hints between values alike. Lengths
 * that are not fixed count as equal.
 *
 * @throws EdgefitError RECIPE_INVALID naming the field.
 */
export function requireFittingTeacher(lesson: Lesson, teacher: Model, student: Model): void {
  requireHintValues(lesson, teacher)
  const [known, own] = [indexGraph(inferShapes(teacher).graph), indexGraph(inferShapes(student).graph)]
  if (lesson.loss.kind === 'distillation') {
    const [theirs, ours] = [scoresOf(teacher.graph, lesson.loss), scoresOf(student.graph, lesson.loss)]
    requireAlike(
      { field: 'loss', theirs, ours, remedy: 'give a teacher for the same classes' },
      known.shapeOf(theirs),
      own.shapeOf(ours),
    )
  }
  for (const [at, { value: ours, from: theirs = ours }] of lesson.hints.entries()) {
    requireValue(own, ours, `hints[${at}].value`, 'student')
    requireAlike(
      { field: `hints[${at}]`, theirs, ours, remedy: 'give hints between values of the same shape' },
      known.shapeOf(theirs),
      own.shapeOf(ours),
    )
  }
}

function requireValue(index: GraphIndex, value: string, field: string, whose: 'teacher' | 'student'): void {
  if (index.producer(value) !== undefined || index.isGraphInput(value)) return
  throw new EdgefitError(`${field}: the ${whose} has no value "${value}"; name one of its intermediate values`, {
    code: 'RECIPE_INVALID',
    details: { field, value },
  })
}

interface Compared {
  readonly field: string
  /** Values of teacher and student. */
  readonly theirs: string
  readonly ours: string
  readonly remedy: string
}

function requireAlike(
  { field, theirs, ours, remedy }: Compared,
  known: Shape | undefined,
  own: Shape | undefined,
): void {
  if (known === undefined || own === undefined) return
  const fits = (dim: unknown, at: number): boolean =>
    typeof dim !== 'number' || typeof own[at] !== 'number' || dim === own[at]
  // The first axis counts samples, as many as the batch has.
  if (known.length === own.length && known.slice(1).every((dim, at) => fits(dim, at + 1))) return
  throw new EdgefitError(
    `${field}: the teacher's "${theirs}" is [${shown(known)}], the student's "${ours}" [${shown(own)}]; ${remedy}`,
    { code: 'RECIPE_INVALID', details: { field, teacher: known, student: own } },
  )
}

function shown(shape: Shape): string {
  return shape.map((dim) => dim ?? '?').join(', ')
}
