import { describe, expect, it } from 'vitest'
import { ABSENT_MS } from '../../../controller/rollout/phase-limits.ts'
import { loadRollout } from '../../../controller/rollout/rollout-view.ts'
import { input, openRolloutScene, succeeded } from './support/rollout-scene.ts'

describe('a rollout', () => {
  it('puts one deployment on each accepted device that matches, and tells the devices', async () => {
    const { rollouts, changed, slotsOf, statuses } = await openRolloutScene()
    const id = await rollouts.create(input(), true)

    expect(await statuses(id)).toEqual(['running', 'pi-1 queued', 'pi-2 queued'])
    expect(changed).toEqual([['pi-1', 'pi-2']])
    expect(await slotsOf('pi-1')).toEqual({ default: 'r-1-1/1' })
    expect(await slotsOf('stranger')).toEqual({})
  })

  it('waits as a draft and can be started once', async () => {
    const { rollouts, statuses } = await openRolloutScene()
    const id = await rollouts.create(input(), false)
    expect(await statuses(id)).toEqual(['draft'])

    await rollouts.start(id)

    expect(await statuses(id)).toEqual(['running', 'pi-1 queued', 'pi-2 queued'])
    await expect(rollouts.start(id)).rejects.toMatchObject({ code: 'CONFLICT' })
  })

  it('is finished when every device has ended', async () => {
    const { rollouts, tell, statuses } = await openRolloutScene()
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await rollouts.tick()
    expect((await statuses(id))[0]).toBe('running')

    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'objective-infeasible' })
    await rollouts.tick()

    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 failed'])
  })

  it('gives up on a device that never shows up, and takes its late word nevertheless', async () => {
    const { db, rollouts, clock, tell, statuses } = await openRolloutScene()
    await db.updateTable('devices').set({ online: 0 }).where('id', '=', 'pi-2').execute()
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    clock.nowMs += ABSENT_MS
    await rollouts.tick()
    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 timed_out'])

    await tell('pi-2', 'r-1-2', succeeded)

    expect(await statuses(id)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 succeeded'])
    const ends = await db.selectFrom('events').select('actor').where('subject', '=', 'deployment:r-1-2').execute()
    expect(ends.map(({ actor }) => actor)).toEqual(['controller', 'device:pi-2'])
  })

  it('takes the slot from an unfinished one', async () => {
    const { rollouts, tell, slotsOf, statuses } = await openRolloutScene()
    const first = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await tell('pi-2', 'r-1-2', { phase: 'searching' })

    await rollouts.create(input(), true)
    await rollouts.tick()

    expect(await statuses(first)).toEqual(['finished', 'pi-1 succeeded', 'pi-2 cancelled'])
    expect(await slotsOf('pi-2')).toEqual({ default: 'r-2-2/1' })
  })

  it('aborted, returns every slot to what it ran before', async () => {
    const { rollouts, tell, slotsOf, statuses } = await openRolloutScene()
    await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await tell('pi-1', 'r-1-1', succeeded)
    const second = await rollouts.create(input(), true)
    await tell('pi-1', 'r-2-1', succeeded)

    await rollouts.abort(second)
    await rollouts.abort(second)

    expect(await statuses(second)).toEqual(['aborted', 'pi-1 cancelled', 'pi-2 cancelled'])
    expect(await slotsOf('pi-1')).toEqual({ default: 'r-1-1/1' })
    expect(await slotsOf('pi-2')).toEqual({})
  })

  it('retried, starts a new attempt where the last one failed', async () => {
    const { rollouts, tell, slotsOf, statuses } = await openRolloutScene()
    const id = await rollouts.create(input(), true)
    await tell('pi-1', 'r-1-1', succeeded)
    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'disk-full' })
    await rollouts.tick()

    await rollouts.retry(id)
    await tell('pi-2', 'r-1-2', { status: 'failed', phase: null, reason: 'disk-full' })

    expect(await statuses(id)).toEqual(['running', 'pi-1 succeeded', 'pi-2 queued'])
    expect(await slotsOf('pi-2')).toEqual({ default: 'r-1-2/2' })
    await tell('pi-2', 'r-1-2', { ...succeeded, attempt: 2 })
    await rollouts.tick()
    expect((await statuses(id))[0]).toBe('finished')
    await expect(rollouts.retry(id)).rejects.toThrow(/nothing to retry/)
  })

  it('keeps to slots of its own', async () => {
    const { rollouts, slotsOf } = await openRolloutScene()
    await rollouts.create(input({ slot: 'front' }), true)
    await rollouts.create(input({ slot: 'rear' }), true)

    expect(await slotsOf('pi-1')).toEqual({ front: 'r-1-1/1', rear: 'r-2-1/1' })
  })

  it('takes a box up again after weeks of silence, and believes what it then says', async () => {
    const { db, rollouts, clock, tell, slotsOf } = await openRolloutScene()
    const id = await rollouts.create(input({ selector: 'device=pi-1' }), true)
    await db.updateTable('devices').set({ online: 0 }).execute()
    clock.nowMs += ABSENT_MS + 20 * 60_000
    await rollouts.tick()
    expect((await loadRollout(db, id)).targets[0]).toMatchObject({ status: 'timed_out', reason: 'silent' })

    clock.nowMs += 14 * 86_400_000
    expect(await slotsOf('pi-1')).toEqual({ default: `${id}-1/1` })
    await tell('pi-1', `${id}-1`, succeeded)

    expect((await loadRollout(db, id)).targets[0]).toMatchObject({ status: 'succeeded', reason: 'objective-met' })
  })
})
