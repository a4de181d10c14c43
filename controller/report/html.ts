import { printable } from './printable.ts'

/** Markup that is safe to send. Made by the tag {@link html}, which escapes every text put into it. */
export class Html {
  readonly markup: string

  constructor(markup: string) {
    this.markup = markup
  }
}

export type HtmlValue = Html | string | number | undefined | readonly HtmlValue[]

/** Template tag for HTML and SVG. Text is escaped, `Html` is not; arrays are joined, undefined is nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(strings.map((text, index) => text + toMarkup(values[index])).join(''))
}

function toMarkup(value: HtmlValue): string {
  if (value === undefined) return ''
  if (value instanceof Html) return value.markup
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' ? escapeHtml(printable(value)) : value.map(toMarkup).join('')
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '')
}
