import { release } from 'node:os'
import type { Profile } from '@edgefit/shared/model'
import type { SystemFiles } from './system-files.ts'

export function readOperatingSystem(files: SystemFiles): Profile['os'] {
  const osRelease = files.text('/etc/os-release') ?? files.text('/usr/lib/os-release') ?? ''
  const name = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease)?.[1]
  return {
    name: name ?? 'Linux',
    kernel: files.text('/proc/sys/kernel/osrelease') ?? release(),
    libc: libcOf(),
  }
}

/** The C library of this process, as Node's diagnostic report has it. */
function libcOf(): string {
  // The report would otherwise look up the names of all open connections.
  Object.assign(process.report, { excludeNetwork: true })
  const report: unknown = process.report.getReport()
  const header = report !== null && typeof report === 'object' && 'header' in report ? report.header : undefined
  const version =
    header !== null && typeof header === 'object' && header !== undefined && 'glibcVersionRuntime' in header
      ? header.glibcVersionRuntime
      : undefined
  return typeof version === 'string' ? `glibc ${version}` : 'unknown (not glibc)'
}
