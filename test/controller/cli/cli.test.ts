import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { loadModel, saveModel } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { runCli } from '../../../controller/cli/run.ts'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../../support/breast-cancer.ts'
import { aWhile, certificateAuthority, until } from '../../support/link.ts'

const MAIN = fileURLToPath(new URL('../../../controller/main.ts', import.meta.url))
const NODE_ARGS = ['--import', 'tsx', '--conditions=source', MAIN]

/** A PNG of one pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

let folder: string
let dataDir: string
let controller: ChildProcess
let npz: string

/** A process of its own. */
function edgefitProcess(...args: string[]): Promise<Result> {
  const env = { ...process.env, EDGEFIT_DATA: dataDir }
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [...NODE_ARGS, ...args], { env, timeout: 60_000 }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr }),
    )
  })
}

/** The same command line in this process: the real program, client and controller, without the start of Node. */
async function edgefit(...args: string[]): Promise<Result> {
  const [stdout, stderr] = [capture(), capture()]
  const status = await runCli(args, {
    stdout: stdout.stream,
    stderr: stderr.stream,
    signal: AbortSignal.timeout(60_000),
    now: Date.now,
    defaultDataDir: dataDir,
    onReload: () => undefined,
  })
  return { status, stdout: stdout.text(), stderr: stderr.text() }
}

function capture(): { readonly stream: NodeJS.WriteStream; text(): string } {
  const pieces: string[] = []
  const stream = new PassThrough()
  stream.on('data', (piece: Buffer) => pieces.push(piece.toString()))
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => pieces.join('') }
}

async function json(...args: string[]): Promise<unknown> {
  const { status, stdout, stderr } = await edgefit(...args, '--json')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return JSON.parse(stdout)
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-cli-'))
  dataDir = join(folder, 'data')
  npz = join(folder, 'data.npz')
  await writeBreastCancerNpz(npz)
  controller = spawn(
    process.execPath,
    [...NODE_ARGS, 'controller', 'start', '--data-dir', dataDir, '--mqtt-port', '0', '--host', '127.0.0.1', '--json'],
    { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, NODE_NO_WARNINGS: '1' } },
  )
  if (controller.stdout) await once(controller.stdout, 'data')
}, 60_000)

afterAll(async () => {
  if (controller.exitCode === null) {
    controller.kill('SIGKILL')
    await once(controller, 'exit')
  }
  await rm(folder, { recursive: true, force: true })
})

describe('edgefit controller start', () => {
  it('reads a renewed certificate when it is told to, and keeps the old one where that is none', async () => {
    const authority = await certificateAuthority(folder)
    const [old, renewed] = [authority.issue('old'), authority.issue('new')]
    const [certFile, keyFile] = [join(folder, 'broker.pem'), join(folder, 'broker.key')]
    const install = async (files: { certFile: string; keyFile: string }) => {
      await copyFile(files.certFile, certFile)
      await copyFile(files.keyFile, keyFile)
    }
    await install(old)
    const stop = new AbortController()
    const [stdout, stderr] = [capture(), capture()]
    let reload = () => {}
    const flags = ['--host', '127.0.0.1', '--mqtts-port', '0', '--tls-cert', certFile, '--tls-key', keyFile, '--json']
    const running = runCli(
      ['controller', 'start', '--data-dir', join(folder, 'tls'), ...flags, '--log-level', 'error'],
      {
        stdout: stdout.stream,
        stderr: stderr.stream,
        signal: stop.signal,
        now: Date.now,
        defaultDataDir: '',
        onReload: (handler) => {
          reload = handler
        },
      },
    )
    onTestFinished(async () => {
      stop.abort()
      await running
    })
    await until(() => stdout.text().endsWith('}\n'), 'the controller is ready')
    const port = Number(new URL(JSON.parse(stdout.text()).brokerUrl).port)
    expect(await shownBy(port)).toBe('old')

    await copyFile(renewed.certFile, certFile)
    reload()
    await aWhile()
    expect(await shownBy(port)).toBe('old')

    await install(renewed)
    reload()
    await until(async () => (await shownBy(port)) === 'new', 'the renewed certificate is shown')
  })
})

/** Common name of the certificate that a server on this host shows. */
async function shownBy(port: number): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { CN } = socket.getPeerCertificate().subject
  socket.destroy()
  return String(CN)
}

describe('edgefit', () => {
  it.each([
    ['device', 'token'],
    ['device', 'list'],
    ['dataset', 'publish'],
    ['model', 'publish'],
    ['rollout', 'create'],
    ['rollout', 'watch'],
    ['report', 'latency'],
    ['controller', 'start'],
  ])('%s %s has help with an example', async (...verb) => {
    const { status, stdout } = await edgefit(...verb, '--help')

    expect(status).toBe(0)
    expect(stdout).toMatch(new RegExp(`Examples?:\\n {2}edgefit ${verb.join(' ')}`))
    expect(stdout).toContain('--json')
  })

  it.each([
    [['device', 'explode'], /unknown command 'explode'/],
    [['rollout', 'create', '--model', 'net'], /--data/],
    [rollout('--latency-p90-ms', '0'), /--latency-p90-ms .*'0' is invalid.*above 0/],
    [rollout('--latency-p90-ms', 'fast'), /--latency-p90-ms .*'fast' is invalid/],
    [rollout('--latency-p90-ms', '5', '--accuracy-floor', '99'), /--accuracy-floor .*at most 1/],
    [rollout('--latency-p90-ms', '5', '--accuracy-floor', '0.9', '--accuracy-min', '0.9'), /exclude each other/],
    [rollout('--latency-p90-ms', '5', '--rebenchmark', 'nightly'), /--rebenchmark .*five fields/],
    [rollout('--latency-p90-ms', '5', '--window', '0 1 * * *'), /--window-length/],
    [rollout('--latency-p90-ms', '5', '--split', '1,2'), /CALIBRATION,TUNING,EVALUATION/],
    [['device', 'label', 'pi-1', '--set', 'site'], /KEY=VALUE/],
    [['device', 'token', '--expires', '1 day'], /--expires .*24h/],
    [['model', 'publish', 'net', 'net.onnx'], /--task/],
    [['model', 'publish', 'net', 'net.onnx', '--task', 'regression', '--threshold', '0.5'], /--threshold goes with/],
    [['dataset', 'publish', 'd', 'd.npz', '--width', '3'], /--width goes with --images/],
    [['dataset', 'publish', 'd'], /give an \.npz file, or --images/],
    [['controller', 'start', '--mqtts-port', '8883', '--tls-cert', 'x.pem'], /--tls-cert and --tls-key/],
    [['controller', 'start', '--broker', 'mqtt://x', '--mqtt-port', '1'], /leave them out with --broker/],
  ])('%j is bad usage', async (args, message) => {
    const { status, stdout, stderr } = await edgefit(...args)

    expect(status).toBe(2)
    expect(stderr).toMatch(/^USAGE: /)
    expect(stderr.replaceAll('\n', ' ')).toMatch(message)
    expect(stdout).toBe('')
  })

  it('publishes, lists and plans, in JSON and in tables', async () => {
    const first = await json('dataset', 'publish', 'tumours', npz)
    const model = await json('model', 'publish', 'tumour', BREAST_CANCER_MODEL, '--data', 'tumours')

    expect(first).toMatchObject({ created: true, dataset: { name: 'tumours', version: 1, count: 569 } })
    expect(model).toMatchObject({ created: true, model: { version: 1, task: { kind: 'classification' } } })
    expect(await json('dataset', 'list')).toMatchObject({ datasets: [{ name: 'tumours' }] })
    const { stdout } = await edgefit('model', 'list')
    expect(stdout).toMatch(/^MODEL\s+TASK\s+MIB\s+PUBLISHED\ntumour@1\s+classification/)
    const created = await edgefit(...rollout('--latency-p90-ms', '5'))
    expect(created.status).toBe(2)
    expect(created.stderr).toMatch(/selector: no device is accepted yet.*edgefit device accept/)
  })

  it.each([
    [['device', 'show', 'nobody'], /no device is called "nobody"/],
    [['rollout', 'abort', 'r-1'], /no rollout has the id "r-1"/],
    [['model', 'show', 'nothing'], /no model nothing is published/],
    [['model', 'publish', 'net', 'missing.onnx', '--task', 'classification'], /missing\.onnx: cannot read/],
    [['report', 'latency', '--device', 'nobody'], /nobody/],
  ])('%j fails', async (args, message) => {
    const { status, stderr } = await edgefit(...args)

    expect(status).toBe(1)
    expect(stderr).toMatch(message)
  })

  it('names the file that is no model', async () => {
    const path = join(folder, 'notes.onnx')
    await writeFile(path, 'not a model')

    const { status, stderr } = await edgefit('model', 'publish', 'net', path, '--task', 'classification')

    expect(status).toBe(1)
    expect(stderr).toMatch(/MODEL_INVALID: .*notes\.onnx/)
  })

  it('makes a dataset of a folder of images and tells the numbers of the classes', async () => {
    const images = join(folder, 'images')
    await mkdir(images)
    for (const name of ['a.png', 'b.png', 'c.png']) await writeFile(join(images, name), Buffer.from(PIXEL, 'base64'))
    const labels = join(folder, 'labels.csv')
    await writeFile(labels, 'file,label\na.png,dog\nb.png,cat\nc.png,dog\n')

    const args = ['dataset', 'publish', 'pets', '--images', images, '--labels', labels]
    const unsized = await edgefit(...args)
    const { status, stdout, stderr } = await edgefit(...args, '--width', '2', '--height', '2', '--channels', '1')

    expect(unsized).toMatchObject({ status: 2, stderr: expect.stringContaining('add --width and --height') })
    expect(status).toBe(0)
    expect(stdout).toBe('pets@1: published, 3 samples with labels\n')
    expect(stderr).toContain('classes from 0: cat, dog')
    expect(await json('dataset', 'show', 'pets')).toMatchObject({
      dataset: { arrays: [{ name: 'input', dtype: 'float32', shape: [1, 2, 2] }, { name: 'labels' }] },
    })
  })

  it('publishes a model that keeps its weights in a file beside it as one file', async () => {
    const path = join(folder, 'split.onnx')
    await saveModel(path, await loadModel(BREAST_CANCER_MODEL), { externalDataThresholdBytes: 64 })
    expect((await readdir(folder)).filter((name) => name.startsWith('split.onnx'))).toHaveLength(2)

    const result = await json('model', 'publish', 'whole', path, '--task', 'classification')

    const { size } = await stat(path)
    const { model } = result as { model: { artifact: { digest: string; sizeBytes: number } } }
    expect(model.artifact.sizeBytes).toBeGreaterThan(size)
    const { digest } = model.artifact
    const stored = await loadModel(join(dataDir, 'artifacts', 'objects', digest.slice(0, 2), digest))
    expect(stored.graph.initializers.size).toBeGreaterThan(0)
  })

  it('writes the report as a page', async () => {
    const path = join(folder, 'report.html')

    const { status, stdout } = await edgefit('report', 'latency', '--html', path)

    expect(status).toBe(0)
    expect(stdout).toBe(`written to ${path}\n`)
    expect(await readFile(path, 'utf8')).toMatch(/^<!doctype html>/)
  })

  it('is a command: environment, standard output and exit status', async () => {
    const list = await edgefitProcess('device', 'list', '--json')
    const bad = await edgefitProcess('device', 'list', '--state', 'asleep')
    const missing = await edgefitProcess('device', 'show', 'nobody')

    expect({ ...list, stderr: '' }).toEqual({ status: 0, stdout: '{\n  "devices": []\n}\n', stderr: '' })
    expect(bad).toMatchObject({ status: 2, stdout: '' })
    expect(missing).toMatchObject({ status: 1, stdout: '' })
  })

  it('reads fleet state when the controller has stopped on SIGTERM, and cannot change it', async () => {
    controller.kill('SIGTERM')
    const [status] = await once(controller, 'exit')

    expect(status).toBe(0)
    expect(existsSync(join(dataDir, 'controller.sock'))).toBe(false)
    expect((await edgefit('device', 'list')).status).toBe(0)
    const token = await edgefit('device', 'token')
    expect(token.status).toBe(1)
    expect(token.stderr).toMatch(/UNAVAILABLE: .*edgefit controller start/)
  })
})

function rollout(...args: string[]): string[] {
  return ['rollout', 'create', '--model', 'tumour', '--data', 'tumours', '--selector', 'all', ...args]
}
