import { intAttribute, stringAttribute } from '../attributes.ts'
import type { Dim, Shape } from '../graph.ts'
import { broadcast } from './dims.ts'
import { known, type RuleInput, type Rules } from './rule.ts'

export const matrixRules: Rules = {
  Einsum: (input) => [known(input.dataType(0), einsumShape(input))],
  Gemm: (input) => [known(input.dataType(0), gemmShape(input))],
  MatMul: (input) => [known(input.dataType(0), matMulShape(input.shape(0), input.shape(1)))],
  MatMulInteger: (input) => [known('INT32', matMulShape(input.shape(0), input.shape(1)))],
  QLinearMatMul: (input) => [known(input.dataType(7), matMulShape(input.shape(0), input.shape(3)))],
}

function gemmShape(input: RuleInput): Shape | undefined {
  const a = input.shape(0)
  const b = input.shape(1)
  if (a === undefined || b === undefined) return undefined
  return [
    a[intAttribute(input.node, 'transA', 0) === 0 ? 0 : 1],
    b[intAttribute(input.node, 'transB', 0) === 0 ? 1 : 0],
  ]
}

function matMulShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (a === undefined || b === undefined || a.length === 0 || b.length === 0) return undefined
  const batch = broadcast([a.slice(0, -2), b.slice(0, -2)])
  if (batch === undefined) return undefined
  return [...batch, ...(a.length > 1 ? [a.at(-2)] : []), ...(b.length > 1 ? [b.at(-1)] : [])]
}

/** Each letter of the output has the length it has in the inputs. Equations with an ellipsis are not followed. */
function einsumShape(input: RuleInput): Shape | undefined {
  const [left = '', right] = stringAttribute(input.node, 'equation', '').replaceAll(' ', '').split('->')
  if (right === undefined || left.includes('.')) return undefined
  const lengths = new Map<string, Dim>()
  for (const [position, term] of left.split(',').entries()) {
    const shape = input.shape(position)
    // An axis of length 1 is stretched to what others have.
    for (const [axis, letter] of [...term].entries()) {
      const before = lengths.get(letter)
      if (before === undefined || before === 1) lengths.set(letter, shape?.[axis])
    }
  }
  return [...right].map((letter) => lengths.get(letter))
}
