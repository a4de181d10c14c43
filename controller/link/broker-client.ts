import type { Duplex } from 'node:stream'
import { connect, type IClientOptions, MqttClient } from 'mqtt'

/** Where the controller's broker is: in this process, or anywhere, with the broker's own means of signing in. */
export type BrokerAddress =
  | { readonly kind: 'embedded'; readonly openStream: () => Duplex }
  | {
      readonly kind: 'external'
      /** `mqtt://[user:password@]host:port` or `mqtts://…` */
      readonly url: string
      /** PEM, where the system does not know the broker's CA. */
      readonly ca?: string
      /** PEM of a client certificate and its key. */
      readonly certificate?: { readonly cert: string; readonly key: string }
    }

/** A client that keeps connecting until ended. Subscriptions are its user's to renew on every `connect`. */
export function openClient(broker: BrokerAddress, own: Pick<IClientOptions, 'clientId' | 'will'>): MqttClient {
  const options: IClientOptions = {
    ...own,
    clean: true,
    resubscribe: false,
    queueQoSZero: false,
    reconnectOnConnackError: true,
    reconnectPeriod: 1_000,
    connectTimeout: 10_000,
    keepalive: 30,
  }
  if (broker.kind === 'embedded') return new MqttClient(broker.openStream, options)
  const { url, ca, certificate } = broker
  return connect(url, { ...options, ...(ca === undefined ? {} : { ca }), ...certificate })
}
