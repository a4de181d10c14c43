import { readdir, readFile } from 'node:fs/promises'
import { extname, isAbsolute, normalize, sep } from 'node:path'
import { EdgefitError } from '@edgefit/shared'
import { parse } from 'csv-parse/sync'

const IMAGE_EXTENSIONS = new Set(['.jpg', '.jpeg', '.png', '.webp', '.gif', '.tif', '.tiff', '.avif'])

export interface LabelledImages {
  /** Paths inside the folder, in the order of the list. */
  readonly files: readonly string[]
  /** One class number a file; absent when there is no list of labels. */
  readonly labels?: readonly number[]
  /** Present when the list names classes: sorted, the number of a class is its place. */
  readonly classes?: readonly string[]
}

interface Row {
  readonly file: string
  readonly label: string
  readonly line: number
}

/** All images directly in a folder, sorted by name, without labels. @throws EdgefitError NOT_FOUND */
export async function listImages(folder: string): Promise<LabelledImages> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new EdgefitError(`image folder ${folder} cannot be read; check the path`, { code: 'NOT_FOUND', cause })
  })
  const files = names.filter((name) => IMAGE_EXTENSIONS.has(extname(name).toLowerCase())).sort()
  if (files.length === 0) {
    const known = [...IMAGE_EXTENSIONS].join(', ')
    throw new EdgefitError(`folder ${folder} holds no images (${known})`, { code: 'NOT_FOUND' })
  }
  return { files }
}

/**
 * Reads a CSV of `file,label`, with or without that header. Labels are class numbers throughout, or class names
 * throughout.
 *
 * @throws EdgefitError NOT_FOUND without the file, INPUT_INVALID naming the line and the remedy
 */
export async function readImageLabels(csvPath: string): Promise<LabelledImages> {
  const rows = parseRows(csvPath, await readCsv(csvPath))
  const [first] = rows
  if (first === undefined) throw invalid(csvPath, 1, 'there are no rows; write one line "file,label" an image')
  const seen = new Map<string, number>()
  for (const { file, line } of rows) {
    const before = seen.get(file)
    if (before !== undefined) throw invalid(csvPath, line, `"${file}" is already on line ${before}; keep one of them`)
    seen.set(file, line)
  }
  const files = rows.map(({ file }) => file)
  const numbered = isClassNumber(first.label)
  for (const { label, line } of rows) {
    if (isClassNumber(label) === numbered) continue
    const kind = numbered ? 'a class number' : 'a class name'
    throw invalid(csvPath, line, `label "${label}" is not ${kind} as on line ${first.line}; use one kind throughout`)
  }
  if (numbered) return { files, labels: rows.map(({ label }) => Number.parseInt(label, 10)) }
  const classes = [...new Set(rows.map(({ label }) => label))].sort()
  const numberOf = new Map(classes.map((name, number) => [name, number]))
  return { files, classes, labels: rows.map(({ label }) => numberOf.get(label) ?? 0) }
}

async function readCsv(csvPath: string): Promise<string> {
  try {
    return await readFile(csvPath, 'utf8')
  } catch (cause) {
    throw new EdgefitError(`labels file ${csvPath} cannot be read; check the path`, { code: 'NOT_FOUND', cause })
  }
}

function parseRows(csvPath: string, text: string): Row[] {
  const records: { record: readonly string[]; line: number }[] = []
  try {
    parse(text, {
      bom: true,
      trim: true,
      skip_empty_lines: true,
      relax_column_count: true,
      on_record: (record: readonly string[], { lines }) => {
        records.push({ record, line: lines })
        return null
      },
    })
  } catch (cause) {
    throw new EdgefitError(`labels file ${csvPath} is not valid CSV; check its quotes`, {
      code: 'INPUT_INVALID',
      cause,
    })
  }
  const rows = records.map(({ record, line }) => {
    const [file = '', label = ''] = record
    if (record.length !== 2 || file === '' || label === '') {
      throw invalid(csvPath, line, `expected "file,label", found ${record.length} columns: "${record.join(',')}"`)
    }
    return { file: insideFolder(file, csvPath, line), label, line }
  })
  const [first] = rows
  const hasHeader = first?.file.toLowerCase() === 'file' && first.label.toLowerCase() === 'label'
  return hasHeader ? rows.slice(1) : rows
}

function insideFolder(file: string, csvPath: string, line: number): string {
  const path = normalize(file)
  if (isAbsolute(path) || path === '..' || path.startsWith(`..${sep}`)) {
    throw invalid(csvPath, line, `"${file}" is outside the image folder; give paths relative to it`)
  }
  return path
}

function isClassNumber(label: string): boolean {
  return /^\d{1,9}$/.test(label)
}

function invalid(csvPath: string, line: number, fault: string): EdgefitError {
  return new EdgefitError(`labels file ${csvPath}, line ${line}: ${fault}`, {
    code: 'INPUT_INVALID',
    details: { line },
  })
}
