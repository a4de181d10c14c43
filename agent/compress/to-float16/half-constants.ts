import { EdgefitError } from '@edgefit/shared'
import { asFloat32, elementCount, type Graph, type GraphEditor, type Tensor } from '@edgefit/shared/onnx'
import { HALF_MAX, toHalfBits } from './half.ts'

interface HalfConstant {
  readonly name: string
  /** The float32 constant it was made from. */
  readonly source: string
  /** How many values were beyond the range of float16. */
  readonly saturated: number
}

/** The float32 constants of a graph, and what has been converted of them. */
export interface HalfConstants {
  /** Names of those that are worth a Cast of their own. */
  readonly large: readonly string[]
  /** The float16 form of a float32 constant, added on first use; `undefined` for what is none. */
  named(value: string): string | undefined
  made(): readonly HalfConstant[]
}

/** Below, the Cast and its names take more bytes than float16 saves. */
const WORTH_A_CAST = 128

/** @throws EdgefitError, from `named`, MODEL_INVALID for a constant that holds NaN. */
export function halfConstants(editor: GraphEditor, { initializers }: Graph): HalfConstants {
  const made = new Map<string, HalfConstant>()
  return {
    large: [...initializers.values()]
      .filter(({ dataType, dims }) => dataType === 'FLOAT' && elementCount(dims) >= WORTH_A_CAST)
      .map(({ name }) => name),
    named(value) {
      const known = made.get(value)
      if (known !== undefined) return known.name
      const tensor = initializers.get(value)
      if (tensor?.dataType !== 'FLOAT') return undefined
      refuseNotANumber(tensor)
      const values = asFloat32(tensor)
      const name = editor.freshName(`${value}/half`)
      const { buffer } = toHalfBits(values)
      editor.setInitializer({ name, dataType: 'FLOAT16', dims: tensor.dims, data: new Uint8Array(buffer) })
      made.set(value, {
        name,
        source: value,
        saturated: values.filter((one) => Number.isFinite(one) && Math.abs(one) > HALF_MAX).length,
      })
      return name
    },
    made: () => [...made.values()],
  }
}

/** What float16 cannot hold, for people. */
export function saturationNotes(constants: readonly HalfConstant[]): readonly string[] {
  return constants
    .filter(({ saturated }) => saturated > 0)
    .map(({ source, saturated }) => `"${source}": ${saturated} values beyond ±${HALF_MAX} became that`)
}

/** An infinity is a mask, and float16 has it; a NaN is a broken model. */
function refuseNotANumber(tensor: Tensor): void {
  if (!asFloat32(tensor).some(Number.isNaN)) return
  throw new EdgefitError(`weights "${tensor.name}" hold NaN; train or export the model again`, {
    code: 'MODEL_INVALID',
    details: { tensor: tensor.name },
  })
}
