import type { Profile } from '@edgefit/shared/model'
import type { QuantizedType } from './affine.ts'

/** How activations and weights are stored: what `quantize-static` calls `activations` and `weights`. */
export interface QuantizationFlavour {
  /** For labels: activations first. */
  readonly name: string
  readonly activations: { readonly type: QuantizedType }
  readonly weights: { readonly type: 'int8'; readonly reducedRange: boolean }
  /** Whether a first convolution of few inputs is better left in float. */
  readonly floatStem: boolean
  /** The multiply-add of this CPU saturates with it: only an accuracy measured on it counts. */
  readonly mayOverflow: boolean
}

const S8S8: QuantizationFlavour = {
  name: 'S8S8',
  activations: { type: 'int8' },
  weights: { type: 'int8', reducedRange: false },
  floatStem: false,
  mayOverflow: false,
}
const U8S8: QuantizationFlavour = { ...S8S8, name: 'U8S8', activations: { type: 'uint8' }, floatStem: true }
const U8S7: QuantizationFlavour = {
  ...U8S8,
  name: 'U8S8 with 7-bit weights',
  weights: { type: 'int8', reducedRange: true },
}

/**
 * The flavours that onnxruntime has fast kernels for on such a CPU, the best bet first.
 *
 * ARM kernels want both sides signed. On x64 they want unsigned activations: the runtime would turn int8 ones into uint8,
 * but not where several operators read them, and then falls back to float. Without VNNI, x64 adds pairs of products in 16
 * bits: 7-bit weights cannot overflow there, 8-bit ones may.
 */
export function quantizationFlavours(
  cpu: Pick<Profile['cpu'], 'architecture' | 'features'>,
): readonly QuantizationFlavour[] {
  if (cpu.architecture === 'arm64') return [S8S8]
  const hasVnni = cpu.features.some((feature) => VNNI.has(feature))
  return hasVnni ? [U8S8] : [U8S7, { ...U8S8, mayOverflow: true }]
}

/** As /proc/cpuinfo spells them. */
const VNNI: ReadonlySet<string> = new Set(['avx512_vnni', 'avx_vnni', 'avx_vnni_int8', 'amx_int8'])
