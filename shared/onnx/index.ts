export {
  floatAttribute,
  floatsValue,
  floatValue,
  graphValue,
  intAttribute,
  intsAttribute,
  intsValue,
  intValue,
  type NodeInit,
  node,
  stringAttribute,
  stringValue,
  tensorAttribute,
  tensorValue,
} from './attributes.ts'
export { bindDimensions, symbolicDimensions } from './bind-dimensions.ts'
export { tensorBorders } from './borders.ts'
export { initializerBytes, type ModelCost, modelCost, type NodeCost } from './cost.ts'
export { type DecodeOptions, decodeModel, type ExternalData } from './decode.ts'
export { checkModel, describeIo, operatorHistogram } from './describe.ts'
export { editGraph, type GraphEditor } from './edit.ts'
export { encodeModel } from './encode.ts'
export {
  type Attribute,
  DATA_TYPES,
  type DataType,
  type Dim,
  freeInputs,
  type Graph,
  type Model,
  type Node,
  type OpaqueType,
  type Shape,
  type Tensor,
  type TensorType,
  type ValueInfo,
} from './graph.ts'
export { type GraphIndex, indexGraph, type Use } from './graph-index.ts'
export { loadModel } from './load.ts'
export { localFunctions } from './local-functions.ts'
export { namesIn, renameReads } from './names.ts'
export { type SaveOptions, saveModel } from './save.ts'
export { inferConstants, inferShapes } from './shape-inference.ts'
export { mapSubgraphs, subgraphs } from './subgraphs.ts'
export {
  asFloat32,
  asInt8,
  asInt32,
  asInt64Numbers,
  asUint8,
  bitsPerElement,
  dataSizeBytes,
  elementCount,
  floatTensor,
  int8Tensor,
  int32Tensor,
  int64Tensor,
  uint8Tensor,
} from './tensor.ts'
export { neededValues, topologicalOrder } from './topology.ts'
