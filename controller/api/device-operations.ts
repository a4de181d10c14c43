import { Name, Profile } from '@edgefit/shared/model'
import { keyFingerprint } from '@edgefit/shared/trust'
import * as z from 'zod'
import { changeDeviceState, labelDevice, requireDevice } from '../fleet/device-registry.ts'
import { DeviceView, loadDevices, loadProfile } from '../fleet/device-view.ts'
import { matchesSelector, parseSelector } from '../fleet/selector.ts'
import { decommissionDevice } from '../rollout/decommission.ts'
import { type ControllerDatabase, DEVICE_STATES, type DeviceState } from '../store/schema.ts'
import { loadSlots, SlotView } from './device-slots.ts'
import { command, query } from './operation.ts'
import type { CommandServices } from './services.ts'

const DeviceList = z.object({ devices: z.array(DeviceView) })
const DeviceIds = z.strictObject({ devices: z.array(z.string()).min(1) })

export const deviceOperations = {
  'token.create': command(
    z.strictObject({
      lifeS: z.int().min(60, 'must be at least 60 s').max(31_536_000, 'must be at most 365 days'),
      maxUses: z.int().positive().nullable().default(null),
    }),
    z.object({ id: z.string(), token: z.string(), expiresAtMs: z.int(), maxUses: z.int().nullable() }),
    async ({ issueToken }, input) => ({ ...(await issueToken(input)), maxUses: input.maxUses }),
  ),

  'device.list': query(
    z.strictObject({ state: z.enum(DEVICE_STATES).optional(), selector: z.string().optional() }),
    DeviceList,
    async ({ db }, { state, selector }) => {
      const devices = await loadDevices(db, state === undefined ? {} : { state })
      if (selector === undefined) return { devices }
      const wanted = parseSelector(selector)
      return { devices: devices.filter((device) => matchesSelector(wanted, device)) }
    },
  ),

  'device.show': query(
    z.strictObject({ device: z.string() }),
    z.object({
      device: DeviceView,
      /** To compare with what the box shows, before it is accepted. */
      keyFingerprint: z.string(),
      profile: Profile.nullable(),
      slots: z.array(SlotView),
    }),
    async ({ db }, { device }) => ({
      device: await requireView(db, device),
      keyFingerprint: keyFingerprint((await requireDevice(db, device)).public_key),
      profile: await loadProfile(db, device),
      slots: await loadSlots(db, device),
    }),
  ),

  'device.accept': command(DeviceIds, DeviceList, (services, { devices }) =>
    decide(services, devices, 'accepted', (trx, device) => changeDeviceState(trx, device, 'accepted', services.now())),
  ),

  'device.reject': command(DeviceIds, DeviceList, (services, { devices }) =>
    decide(services, devices, 'rejected', (trx, device) => changeDeviceState(trx, device, 'rejected', services.now())),
  ),

  'device.decommission': command(DeviceIds, DeviceList, (services, { devices }) =>
    decide(services, devices, 'decommissioned', (trx, device) => decommissionDevice(trx, device, services.now())),
  ),

  'device.label': command(
    z.strictObject({ device: z.string(), labels: z.record(Name, z.string().min(1).max(128).nullable()) }),
    z.object({ device: DeviceView }),
    async ({ db, now }, { device, labels }) => {
      await db.transaction().execute((trx) => labelDevice(trx, device, labels, now()))
      return { device: await requireView(db, device) }
    },
  ),
}

/** All of them or none. */
async function decide(
  { db, onDeviceState }: CommandServices,
  devices: readonly string[],
  state: DeviceState,
  change: (trx: ControllerDatabase, device: string) => Promise<void>,
): Promise<z.input<typeof DeviceList>> {
  await db.transaction().execute(async (trx) => {
    for (const device of devices) await change(trx, device)
  })
  for (const device of devices) onDeviceState(device, state)
  return { devices: (await loadDevices(db)).filter(({ id }) => devices.includes(id)) }
}

async function requireView(db: ControllerDatabase, device: string): Promise<DeviceView> {
  await requireDevice(db, device)
  const [view] = await loadDevices(db, { id: device })
  if (view === undefined) throw new TypeError(`device ${device} has a row and no view`)
  return view
}
