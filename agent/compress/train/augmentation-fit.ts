import { EdgefitError } from '@edgefit/shared'
import type { Training } from '@edgefit/shared/model'
import { freeInputs, type Model, type ValueInfo } from '@edgefit/shared/onnx'

type Augmentation = NonNullable<Training['augmentation']>

/**
 * Whether the samples of `model` can be changed in that way.
 *
 * @throws EdgefitError RECIPE_INVALID naming the field.
 */
export function requireAugmentable(augmentation: Augmentation, { graph }: Model): void {
  const input = inputOf(augmentation, freeInputs(graph))
  const type = input.type?.kind === 'tensor' ? input.type : undefined
  if (type?.dataType !== 'FLOAT') {
    throw refused(
      'input',
      `"${input.name}" holds no float32 numbers to shift, mirror or mix; name another input, or leave "augmentation" out`,
    )
  }
  const dims = type.shape
  if (dims === undefined) return
  const axes = `choose one of "${input.name}", 1 to ${dims.length - 1}`
  for (const [at, { axis, most }] of augmentation.shifts.entries()) {
    const length = dims[axis]
    if (axis >= dims.length) throw refused(`shifts[${at}].axis`, `${axis} is no axis of a sample: ${axes}`)
    if (typeof length === 'number' && most >= length) {
      throw refused(`shifts[${at}].most`, `${most} moves all ${length} positions out: lower it`)
    }
  }
  for (const [at, axis] of augmentation.mirrors.entries()) {
    if (axis >= dims.length) throw refused(`mirrors[${at}]`, `${axis} is no axis of a sample: ${axes}`)
  }
}

function inputOf({ input }: Augmentation, inputs: readonly ValueInfo[]): ValueInfo {
  const names = inputs.map(({ name }) => `"${name}"`).join(', ')
  const [only, other] = inputs
  const named =
    input === undefined ? (other === undefined ? only : undefined) : inputs.find(({ name }) => name === input)
  if (named !== undefined) return named
  throw refused(
    'input',
    input === undefined ? `name one: the model has ${names}` : `the model has no input "${input}": it has ${names}`,
  )
}

function refused(field: string, message: string): EdgefitError {
  return new EdgefitError(`augmentation.${field}: ${message}`, { code: 'RECIPE_INVALID', details: { field } })
}
