export { decodeBitmap, encodeBitmap } from './bitmap.ts'
export {
  allocateChunkFrame,
  CHUNK_BACKLOG_DROP_BYTES,
  CHUNK_HEADER_BYTES,
  type ChunkFrame,
  decodeChunkFrame,
  MAX_CHUNK_BYTES,
  MAX_WINDOW_BYTES,
} from './chunk-frame.ts'
export {
  assertMessageSize,
  type DocumentName,
  type DocumentOf,
  decodeDocument,
  decodeReports,
  encodeDocument,
  MAX_MESSAGE_BYTES,
  MAX_SIGNED_BYTES,
} from './codec.ts'
export {
  ControllerPresence,
  DeploymentGoal,
  DesiredState,
  EnrolReply,
  EnrolRequest,
  FetchRequest,
  NoticeReport,
  Presence,
  ProfileMessage,
  RebenchmarkReport,
  Report,
  ReportAck,
  ReportBatch,
  ReportBody,
  ResultReport,
  StatusReport,
  TrialReport,
} from './messages.ts'
export { CANDIDATE_CLIENT_PREFIX, CANDIDATE_USER } from './sign-in.ts'
export {
  controllerSubscriptions,
  DOWN_CHANNELS,
  type DownChannel,
  formatTopic,
  PROTOCOL_VERSION,
  parseTopic,
  type Topic,
  UP_CHANNELS,
  type UpChannel,
} from './topics.ts'
