import * as z from 'zod'

/** SHA-256 of a file's bytes, lower-case hex: the identity of every artifact. */
export const Digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hex (64 digits)')
export type Digest = z.infer<typeof Digest>

/** Names that travel in topics and paths: models, datasets, slots, devices, label keys. */
export const Name = z
  .string()
  .min(1)
  .max(64)
  .regex(
    /^[a-zA-Z0-9][a-zA-Z0-9._-]*$/,
    'may hold letters, digits, ".", "_" and "-", and starts with a letter or digit',
  )
export type Name = z.infer<typeof Name>

const MAX_LABELS = 64

/** Free-form operator labels on a device, for example `site=lab`. */
export const Labels = z
  .record(Name, z.string().min(1).max(128))
  .refine((labels) => Object.keys(labels).length <= MAX_LABELS, `may be ${MAX_LABELS} at most`)
export type Labels = z.infer<typeof Labels>

/** An immutable file and the manifest that lists its chunks. A signature over this covers the whole file. */
export const ArtifactRef = z.object({
  digest: Digest,
  sizeBytes: z.int().nonnegative(),
  manifest: z.object({ digest: Digest, sizeBytes: z.int().positive() }),
})
export type ArtifactRef = z.infer<typeof ArtifactRef>

/** Element types as onnxruntime-node names them. */
export const TENSOR_TYPES = [
  'float32',
  'float64',
  'float16',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
] as const
export const TensorSpec = z.object({
  name: z.string().min(1),
  type: z.enum(TENSOR_TYPES),
  /** A number is fixed, a string is symbolic, null is unknown. */
  dims: z.array(z.union([z.int().nonnegative(), z.string(), z.null()])),
})
export type TensorSpec = z.infer<typeof TensorSpec>
