import { DATA_TYPES, intValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../emitter.ts'

/** A value by its name, or a number. */
export type Operand = string | number
type Unary = (value: Operand) => string
type Binary = (left: Operand, right: Operand) => string

/** Formulas as one writes them: `mul(gradient, sub(1, square(y)))`. Operands broadcast. */
export interface Algebra {
  readonly add: Binary
  readonly sub: Binary
  readonly mul: Binary
  readonly div: Binary
  readonly pow: Binary
  readonly max: Binary
  readonly neg: Unary
  readonly abs: Unary
  readonly sign: Unary
  readonly exp: Unary
  readonly log: Unary
  readonly erf: Unary
  readonly tanh: Unary
  readonly sigmoid: Unary
  readonly square: Unary
  /** Conditions, for `where`, `and` and `indicator`. */
  readonly greater: Binary
  readonly less: Binary
  readonly equal: Binary
  readonly and: Binary
  /** `then` where `condition` holds, `otherwise` elsewhere. */
  where(condition: string, then: Operand, otherwise: Operand): string
  /** 1 where `condition` holds, 0 elsewhere. */
  indicator(condition: string): string
}

export function algebra(emit: Emitter): Algebra {
  const name = (value: Operand): string => (typeof value === 'number' ? emit.scalar(value) : value)
  const unary =
    (opType: string): Unary =>
    (value) =>
      emit.add(opType, [name(value)])
  const binary =
    (opType: string): Binary =>
    (left, right) =>
      emit.add(opType, [name(left), name(right)])
  return {
    add: binary('Add'),
    sub: binary('Sub'),
    mul: binary('Mul'),
    div: binary('Div'),
    pow: binary('Pow'),
    max: binary('Max'),
    neg: unary('Neg'),
    abs: unary('Abs'),
    sign: unary('Sign'),
    exp: unary('Exp'),
    log: unary('Log'),
    erf: unary('Erf'),
    tanh: unary('Tanh'),
    sigmoid: unary('Sigmoid'),
    square: (value) => emit.add('Mul', [name(value), name(value)]),
    greater: binary('Greater'),
    less: binary('Less'),
    equal: binary('Equal'),
    and: binary('And'),
    where: (condition, then, otherwise) => emit.add('Where', [condition, name(then), name(otherwise)]),
    indicator: (condition) => castToFloat(emit, condition),
  }
}

export function castToFloat(emit: Emitter, value: string): string {
  return emit.add('Cast', [value], { to: intValue(DATA_TYPES.indexOf('FLOAT') + 1) })
}
