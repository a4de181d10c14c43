export {
  describeFailure,
  EdgefitError,
  type EdgefitErrorOptions,
  ERROR_CODES,
  type ErrorCode,
  isEdgefitError,
} from './errors.ts'
export { parseJsonWith, parseWith } from './parse.ts'
