import { html } from './html.ts'

/**
 * The look of the page. Colours are the ones that people with any common colour blindness tell apart (Okabe and Ito
 * 2008), darkened or lightened to 4.5:1 on their ground; no meaning rests on colour alone.
 */
export const STYLE = html`<style>
:root {
  color-scheme: light dark;
  --paper: #fff; --ground: #f5f6f7; --ink: #181c20; --muted: #5a646e; --rule: #dde1e5; --faint: #eceff1;
  --variant: #0072b2; --fp32: #7b8590; --limit: #c04e00;
  --failed: #b3261e; --missed: #b34700; --infeasible: #87407c; --undecided: #87407c;
  --pending: #1d6aa5; --met: #00735a; --cancelled: #5a646e; --unassigned: #5a646e;
  --tint: 10%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171b20; --ground: #0f1216; --ink: #e7eaed; --muted: #9ca6b0; --rule: #2b323a; --faint: #20262c;
    --variant: #56b4e9; --fp32: #8a95a0; --limit: #f29a56;
    --failed: #ff8a80; --missed: #f5a05c; --infeasible: #dc98d2; --undecided: #dc98d2;
    --pending: #7dbdf0; --met: #4fc9a5; --cancelled: #9ca6b0; --unassigned: #9ca6b0;
    --tint: 16%;
  }
}
* { box-sizing: border-box; }
html { background: var(--ground); -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--muted); letter-spacing: .01em; }
h2 { margin: 2.75rem 0 .9rem; font-size: 1.2rem; letter-spacing: -.01em; }
h3 { margin: 0; font-size: 1.05rem; }
p { margin: 0; }
a { color: inherit; text-decoration-color: var(--rule); text-underline-offset: .2em; }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--variant); outline-offset: 2px; }
.lede { margin: .35rem 0 0; max-width: 48rem; font-size: clamp(1.45rem, 3.4vw, 2rem); line-height: 1.2; font-weight: 650; letter-spacing: -.02em; text-wrap: balance; }
.meta, .quiet { color: var(--muted); font-size: .86rem; }
.meta { margin-top: .6rem; }
.card { background: var(--paper); border: 1px solid var(--rule); border-radius: 10px; }
.scroll { overflow-x: auto; }
.verdict { display: inline-flex; gap: .4em; align-items: baseline; padding: .1em .6em; border-radius: 1em; font-size: .82rem; font-weight: 600; white-space: nowrap; color: var(--tone); background: color-mix(in srgb, var(--tone) var(--tint), transparent); }
.failed { --tone: var(--failed); } .missed { --tone: var(--missed); } .infeasible { --tone: var(--infeasible); }
.undecided { --tone: var(--undecided); } .pending { --tone: var(--pending); } .met { --tone: var(--met); }
.cancelled { --tone: var(--cancelled); } .unassigned { --tone: var(--unassigned); }

.tally { margin-top: 1.5rem; }
.tally .bar { display: flex; gap: 2px; height: .6rem; }
.tally .bar i { min-width: 4px; background: var(--tone); border-radius: 2px; }
.tally ul { display: flex; flex-wrap: wrap; gap: .3rem 1.75rem; margin: .8rem 0 0; padding: 0; list-style: none; }
.tally li { color: var(--tone); font-size: .88rem; white-space: nowrap; }
.tally b { margin-right: .25em; font-size: 1.3rem; font-weight: 650; color: var(--ink); }

table { width: 100%; border-collapse: collapse; }
th { font-weight: 600; text-align: left; }
thead th { color: var(--muted); font-size: .78rem; vertical-align: bottom; white-space: nowrap; }
th, td { padding: .5rem .7rem; vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
small { display: block; font-size: .8rem; font-weight: 400; color: var(--muted); }
.over { color: var(--missed); font-weight: 650; }

.devices { margin-top: 1rem; }
.devices caption { padding: .8rem .9rem .3rem; text-align: left; font-weight: 600; }
.devices caption small { display: inline; margin-left: .6em; font-size: .84rem; }
.devices th:first-child, .devices td:first-child { padding-left: .9rem; }
.devices thead { position: sticky; top: 0; z-index: 1; background: var(--paper); box-shadow: 0 1px var(--rule); }
.devices tbody { border-top: 1px solid var(--rule); }
.devices table { table-layout: fixed; min-width: 58rem; }
.devices col.device { width: 18%; } .devices col.state { width: 12%; } .devices col.figure { width: 8.5%; }
.devices th[scope="row"] { overflow-wrap: anywhere; }
.devices .plot { padding-inline: .9rem; }
.devices .legend { float: right; font-weight: 400; font-size: .8rem; color: var(--muted); }
.legend i { display: inline-block; width: .65em; height: .65em; margin: 0 .35em 0 .9em; border: 2px solid var(--fp32); border-radius: 50%; }
.legend i.variant { border-color: var(--variant); background: var(--variant); }
.idle { margin-top: 1rem; padding: .8rem .9rem; }
.devices .note td { padding-top: 0; color: var(--muted); font-size: .88rem; }
.note p { max-width: 70rem; }
.warn { color: var(--missed); }
.warn::before { content: "! "; font-weight: 700; }

svg { display: block; width: 100%; overflow: visible; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: var(--muted); }
svg .grid { stroke: var(--rule); }
svg .base { stroke: var(--rule); }
svg .limit { stroke: var(--limit); stroke-width: 1.5; }
svg .floor { stroke-dasharray: 5 3; }
svg text.limit { fill: var(--limit); stroke: var(--paper); stroke-width: 3px; font-weight: 600; }
svg .beyond { fill: var(--limit); opacity: .06; }
svg .feasible { fill: var(--met); opacity: .1; }
svg .variant { --series: var(--variant); } svg .fp32 { --series: var(--fp32); }
svg .area { fill: var(--series); fill-opacity: .22; stroke: var(--series); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
svg .range { stroke: var(--series); stroke-width: 5; opacity: .38; }
svg .mark { stroke: var(--series); stroke-width: 2.5; }
svg .dot { fill: var(--paper); stroke: var(--series); stroke-width: 2; }
svg .variant .dot { fill: var(--series); }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
svg .name { fill: var(--ink); font-weight: 600; }
svg .trial > * { stroke: var(--paper); stroke-width: 1; }
svg .won { fill: var(--variant); } svg .trial > .ring { fill: none; stroke: var(--variant); stroke-width: 2; }
svg .baseline { fill: var(--fp32); } svg .holds { fill: var(--met); } svg .breaks { fill: var(--paper); }
svg .breaks > * { stroke: var(--muted); stroke-width: 1.5; }
svg .front { fill: none; stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 3; vector-effect: non-scaling-stroke; }

.groups { display: grid; gap: 1rem; align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.groups .card, .detail { padding: 1rem 1.1rem; }
.groups figure { margin-top: .9rem; }
.detail { margin-top: 1rem; }
.detail summary { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; cursor: pointer; list-style: none; }
.detail summary::-webkit-details-marker { display: none; }
.detail summary::before { content: "▸"; color: var(--muted); }
.detail[open] summary::before { content: "▾"; }
.detail > p { margin-top: .35rem; max-width: 70rem; }
.charts { display: grid; gap: 1.5rem 2.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); margin-top: 1.25rem; }
figure { margin: 0; min-width: 0; }
figcaption { margin-bottom: .6rem; font-size: .88rem; font-weight: 600; }
figcaption small { font-weight: 400; }
.figures { margin-top: 1.25rem; font-size: .9rem; }
.figures th, .figures td { padding: .35rem .6rem; border-top: 1px solid var(--faint); }
.figures thead th { border-top: 0; }
.figures th:first-child, .figures td:first-child { padding-left: 0; }
.figures tbody th small, .figures tbody td { font-weight: 400; }
.figures .trial-name { min-width: 13rem; overflow-wrap: anywhere; }
.figures .why { min-width: 17rem; color: var(--muted); }
.figures .why b { color: var(--ink); }
.figures tr.chosen > * { background: color-mix(in srgb, var(--variant) var(--tint), transparent); }
.key { display: inline-block; width: .7em; height: .7em; margin-right: .35em; border-radius: 2px; background: var(--series); }
.key.variant { --series: var(--variant); } .key.fp32 { --series: var(--fp32); }
footer { margin-top: 3rem; color: var(--muted); font-size: .84rem; }
footer p { max-width: 48rem; margin-top: .4rem; }

@media (max-width: 46rem) {
  body { padding: 1.5rem 1rem 3rem; }
}
@media screen and (max-width: 62rem) {
  .devices thead th:not(.plot) { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .devices thead, .devices thead tr, .devices thead th.plot { display: block; width: auto; }
  .devices table { min-width: 0; }
  .devices colgroup { display: none; }
  .devices table, .devices caption, .devices tbody { display: block; }
  .devices .legend { float: none; display: block; margin-left: -.9em; }
  .devices tbody tr { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .1rem .6rem; padding: .7rem .9rem .2rem; }
  .devices tbody tr.note { display: block; padding: 0 .9rem .7rem; }
  .devices tbody td, .devices tbody th { display: block; padding: 0 !important; border: 0; }
  .devices tbody th { grid-column: span 2; }
  .devices tbody td.state { grid-column: span 2; justify-self: end; }
  .devices tbody td.empty { display: none; }
  .devices tbody td.plot { grid-column: 1 / -1; width: auto; min-width: 0; }
  .devices tbody td.number { text-align: left; }
  .devices tbody td.number::before { content: attr(data-label); display: block; color: var(--muted); font-size: .74rem; }
}
@media print {
  :root {
    --paper: #fff; --ground: #fff; --ink: #000; --muted: #444; --rule: #bbb; --faint: #ddd;
    --variant: #0072b2; --fp32: #777; --limit: #c04e00; --met: #00735a; --missed: #b34700; --failed: #b3261e;
    --infeasible: #87407c; --undecided: #87407c; --pending: #1d6aa5; --cancelled: #444; --unassigned: #444;
  }
  body { padding: 0; max-width: none; font-size: 11px; }
  .card { border-radius: 0; }
  .scroll { overflow: visible; }
  .figures { font-size: 9.5px; }
  .figures th, .figures td { padding-inline: .35rem; }
  .figures .why, .figures .trial-name, .devices table { min-width: 0; }
  .devices thead { position: static; }
  tbody, figure { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
</style>`
