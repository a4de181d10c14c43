import { writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type SignInFlags, signInOf } from '../../../agent/cli/sign-in-options.ts'
import { certificateAuthority, temporaryFolder } from '../../support/link.ts'

async function files(contents: Readonly<Record<string, string>>): Promise<(name: string) => string> {
  const folder = await temporaryFolder()
  for (const [name, text] of Object.entries(contents)) await writeFile(join(folder, name), text)
  return (name) => join(folder, name)
}

describe('sign-in at a broker of another', () => {
  it('is not asked for by default', async () => {
    expect(await signInOf({})).toBeUndefined()
  })

  it('takes a user name with a password from a file, its line end left out', async () => {
    const path = await files({ password: 'open sesame \n' })

    expect(await signInOf({ brokerUsername: 'kiosk', brokerPasswordFile: path('password') })).toEqual({
      kind: 'password',
      username: 'kiosk',
      password: 'open sesame ',
    })
  })

  it('takes a certificate with its key, to be found from wherever the agent runs', async () => {
    const { certFile, keyFile } = (await certificateAuthority(await temporaryFolder())).issue('kiosk')

    const signIn = await signInOf({ brokerCert: relative(process.cwd(), certFile), brokerKey: keyFile })

    expect(signIn).toEqual({ kind: 'certificate', certFile, keyFile })
  })

  it('refuses a key that belongs to another certificate', async () => {
    const authority = await certificateAuthority(await temporaryFolder())
    const [kiosk, till] = [authority.issue('kiosk'), authority.issue('till')]

    const mixed = signInOf({ brokerCert: kiosk.certFile, brokerKey: till.keyFile })

    await expect(mixed).rejects.toThrow(/belong together/)
  })

  it.each<[string, SignInFlags, RegExp]>([
    ['a name without a password', { brokerUsername: 'kiosk' }, /go together/],
    ['a certificate without its key', { brokerCert: 'a.pem' }, /go together/],
    [
      'two ways at once',
      { brokerUsername: 'kiosk', brokerPasswordFile: 'p', brokerCert: 'a.pem', brokerKey: 'b.pem' },
      /exclude each other/,
    ],
    [
      'a file that is not there',
      { brokerUsername: 'kiosk', brokerPasswordFile: '/nowhere/p' },
      /cannot read \/nowhere/,
    ],
  ])('refuses %s', async (_, flags, message) => {
    await expect(signInOf(flags)).rejects.toMatchObject({ code: 'USAGE', message: expect.stringMatching(message) })
  })

  it('refuses an empty password', async () => {
    const path = await files({ password: '\n' })

    await expect(signInOf({ brokerUsername: 'kiosk', brokerPasswordFile: path('password') })).rejects.toThrow(/empty/)
  })
})
