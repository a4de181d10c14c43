export {
  checkDatasetFitsModel,
  classCount,
  type ModelIo,
  type RowLayout,
  rowLayout,
} from './check.ts'
export { checkLabels } from './check-labels.ts'
export { type Dataset, LABELS, openDataset, type RowSpec } from './dataset.ts'
export { inferTask } from './infer-task.ts'
export type { ArrayInfo } from './npy.ts'
export { countSamples, listNpz } from './npz-entries.ts'
export { readMarker, unpackNpz } from './npz-unpack.ts'
export { type NpzSource, type NpzWriteOptions, writeNpz } from './npz-write.ts'
export { defaultSplit, type SplitIndices, splitIndices } from './split.ts'
export type { ElementType, TensorArray } from './tensor-array.ts'
