export type { BrokerSettings, EmbeddedBrokerSettings, ExternalBrokerSettings } from './broker-options.ts'
export { type Controller, type ControllerOptions, startController } from './controller.ts'
