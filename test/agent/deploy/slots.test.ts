import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RuntimeJson } from '@edgefit/shared/model'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSlotStore, type SlotStore } from '../../../agent/deploy/slots.ts'
import { measurement, RUNTIME } from '../../support/measurements.ts'

function runtimeJson(deploymentId: string, digest = 'a'): RuntimeJson {
  return {
    schemaVersion: 1,
    slot: 'main',
    deploymentId,
    model: { name: 'm', version: 1, sourceDigest: 'f'.repeat(64), task: { kind: 'classification' } },
    variant: { digest: digest.repeat(64), sizeBytes: 3, recipeDigest: 'b'.repeat(64), label: null },
    runtime: RUNTIME,
    sessionOptions: {},
    inputs: [],
    outputs: [],
    measurement: measurement({ p90BoundMs: 1 }),
    activatedAtMs: 0,
  }
}

describe('the slot store', () => {
  let state: string
  let slots: SlotStore
  const model = async (content: string) => {
    const path = join(state, `${content}.onnx`)
    await writeFile(path, content)
    return path
  }
  const serving = () => readFile(join(state, 'active', 'main', 'model.onnx'), 'utf8')

  beforeEach(async () => {
    state = await mkdtemp(join(tmpdir(), 'edgefit-slots-'))
    slots = await openSlotStore(state)
  })
  afterEach(() => rm(state, { recursive: true, force: true }))

  it('serves nothing until something is activated', async () => {
    await slots.stage(await model('one'), runtimeJson('d1'))

    expect(await slots.active('main')).toBeUndefined()
  })

  it('serves the activated model with its runtime.json and returns to the one before', async () => {
    const first = await slots.stage(await model('one'), runtimeJson('d1'))
    await slots.activate('main', first)
    await slots.activate('main', await slots.stage(await model('two'), runtimeJson('d2', 'c')))
    expect(await serving()).toBe('two')
    expect((await slots.active('main'))?.runtime?.deploymentId).toBe('d2')

    expect(await slots.rollBack('main')).toBe(true)

    expect(await serving()).toBe('one')
    expect(await slots.rollBack('main')).toBe(false)
    expect(await serving()).toBe('one')
  })

  it('repeats stage and activate without changing what a rollback returns to', async () => {
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    for (let again = 0; again < 2; again += 1) {
      await slots.activate('main', await slots.stage(await model('two'), runtimeJson('d2', 'c')))
    }

    expect(await slots.rollBack('main')).toBe(true)

    expect(await serving()).toBe('one')
  })

  it('refuses to point at a version that was not staged', async () => {
    await expect(slots.activate('main', 'nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('tidies what neither pointer needs and an interrupted staging', async () => {
    for (const [content, id, digest] of [
      ['one', 'd1', 'a'],
      ['two', 'd2', 'c'],
      ['three', 'd3', 'd'],
    ] as const) {
      await slots.activate('main', await slots.stage(await model(content), runtimeJson(id, digest)))
    }
    await writeFile(join(state, 'slots', 'main', '.staging-half'), 'x')

    await slots.tidy('main')

    const left = await readdir(join(state, 'slots', 'main'))
    expect(
      left
        .filter((name) => name.startsWith('d'))
        .map((name) => name.slice(0, 2))
        .sort(),
    ).toEqual(['d2', 'd3'])
    expect(left).not.toContain('.staging-half')
    expect(await serving()).toBe('three')
  })

  it('leaves what another slot has staged alone, whatever happens in this one', async () => {
    const other = await slots.stage(await model('other'), { ...runtimeJson('d9'), slot: 'other' })

    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    await slots.tidy('main')

    await slots.activate('other', other)
    expect((await slots.active('other'))?.version).toBe(other)
  })

  it('makes room before it stages: what was staged and never activated goes', async () => {
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    await slots.stage(await model('two'), runtimeJson('d2', 'c'))

    await slots.stage(await model('three'), runtimeJson('d3', 'd'))

    const left = await readdir(join(state, 'slots', 'main'))
    expect(left.map((name) => name.slice(0, 2)).sort()).toEqual(['d1', 'd3'])
  })

  it('leaves nothing behind of a model that cannot be copied', async () => {
    await expect(slots.stage(join(state, 'absent.onnx'), runtimeJson('d1'))).rejects.toThrow(/ENOENT/)

    expect(await readdir(join(state, 'slots', 'main'))).toEqual([])
  })

  it('empties a slot for good: a later model finds nothing of the old ones to return to', async () => {
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    await slots.activate('main', await slots.stage(await model('two'), runtimeJson('d2', 'c')))

    await slots.empty('main')

    expect(await slots.active('main')).toBeUndefined()
    await slots.activate('main', await slots.stage(await model('three'), runtimeJson('d3', 'd')))
    expect(await slots.rollBack('main')).toBe(false)
    expect(await serving()).toBe('three')
  })

  it('does not take the model that serves for the one before it', async () => {
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    const { version } = (await slots.active('main')) ?? {}
    // As a power cut between the two pointers leaves it.
    await symlink(String(version), join(state, 'slots', 'main', 'previous'))

    expect(await slots.rollBack('main')).toBe(false)
  })

  it.each([
    ['a damaged runtime.json', '{', { runtime: null }],
    ['a runtime.json of another version', '{"schemaVersion":2}', { runtime: null }],
  ])('goes on with %s', async (_what, text, expected) => {
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    await writeFile(join(state, 'active', 'main', 'runtime.json'), text)

    expect(await slots.active('main')).toMatchObject(expected)
    await slots.activate('main', await slots.stage(await model('two'), runtimeJson('d2', 'c')))
    expect(await serving()).toBe('two')
  })

  it('goes on with a pointer to nothing', async () => {
    await symlink('../slots/main/gone', join(state, 'active', 'main'))

    expect(await slots.active('main')).toBeUndefined()
    await slots.activate('main', await slots.stage(await model('one'), runtimeJson('d1')))
    expect(await serving()).toBe('one')
  })
})
