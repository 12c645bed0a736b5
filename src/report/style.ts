/** The page's style sheet. Light unless the reader's system is dark. */
import { FONT, paletteCss } from './figures.js';

export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f7f6f3;
  --surface: #ffffff;
  --ink: #1d1c1a;
  --muted: #6b6a66;
  --line: #e4e2dd;
  --shade: #d9631e;
  --good: #1f8a5f;
  --warn: #a86f0a;
  --bad: #c2362f;
  --none: #6b6a66;
  ${paletteCss(false)}
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141517;
    --surface: #1c1e21;
    --ink: #ecebe8;
    --muted: #a09f9a;
    --line: #303338;
    --shade: #f0a06e;
    --good: #4cc493;
    --warn: #e2b04a;
    --bad: #f0776f;
    --none: #a09f9a;
    ${paletteCss(true)}
  }
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--page);
  color: var(--ink);
  font: 15px/1.55 ${FONT};
}
main {
  max-width: 1180px;
  margin: 0 auto;
  padding: 28px 24px 64px;
}
header {
  display: flex;
  flex-wrap: wrap;
  gap: 2px 16px;
  align-items: baseline;
  color: var(--muted);
  margin-bottom: 18px;
}
header h1 {
  font-size: 17px;
  margin: 0;
  color: var(--ink);
  font-weight: 650;
}
h2 {
  font-size: 19px;
  margin: 40px 0 4px;
  letter-spacing: -.01em;
}
h3 {
  font-size: 14px;
  margin: 0;
  font-weight: 600;
}
p { margin: 6px 0; }
.lead { color: var(--muted); max-width: 76ch; }
.card {
  background: var(--surface);
  border: 1px solid var(--line);
  border-radius: 12px;
}
.verdict { padding: 20px 24px; border-left: 5px solid var(--tone); }
.verdict .headline {
  font-size: clamp(21px, 3.4vw, 31px);
  line-height: 1.2;
  font-weight: 680;
  letter-spacing: -.02em;
  margin: 0 0 8px;
  text-wrap: balance;
}
.verdict ul {
  margin: 0;
  padding: 0;
  list-style: none;
}
.verdict li { padding: 2px 0; overflow-wrap: anywhere; }
.good { --tone: var(--good); }
.warn { --tone: var(--warn); }
.bad { --tone: var(--bad); }
.none { --tone: var(--none); }
.dot {
  display: inline-block;
  width: 10px;
  height: 10px;
  border-radius: 50%;
  background: var(--arm);
  margin-right: 8px;
  flex: none;
}
.tone {
  color: var(--tone);
  margin-right: 8px;
  font-weight: 700;
}
.problems {
  padding: 14px 20px;
  border-left: 5px solid var(--warn);
  margin-top: 14px;
}
.problems ul { margin: 4px 0 0; padding-left: 18px; }
.problems li { overflow-wrap: anywhere; }
.legend {
  position: sticky;
  top: 0;
  z-index: 2;
  background: var(--page);
  display: flex;
  flex-wrap: wrap;
  gap: 4px 22px;
  padding: 10px 0;
}
.legend span { display: inline-flex; align-items: center; }
.figures {
  display: grid;
  grid-template-columns: repeat(2, minmax(0, 1fr));
  gap: 16px;
}
figure h3 { display: flex; }
.save {
  margin-left: auto;
  border: 0;
  padding: 0 4px;
  background: none;
  color: var(--muted);
  font: inherit;
  font-weight: 400;
  font-size: 12px;
  cursor: pointer;
}
figure {
  margin: 0;
  padding: 14px 14px 8px;
  min-width: 0;
}
.chart { height: var(--height, 240px); width: 100%; }
.chart svg { display: block; max-width: 100%; }
table {
  width: 100%;
  border-collapse: collapse;
  font-variant-numeric: tabular-nums;
}
th, td {
  padding: 9px 10px;
  text-align: right;
  border-bottom: 1px solid var(--line);
  vertical-align: baseline;
  white-space: nowrap;
}
thead th { font-weight: 600; font-size: 13px; }
thead small {
  display: block;
  font-weight: 400;
  color: var(--muted);
}
tbody tr:last-child > * { border-bottom: 0; }
tbody th {
  text-align: left;
  font-weight: 560;
  white-space: nowrap;
}
td small { color: var(--muted); font-size: 12px; }
td.best { font-weight: 680; }
.term {
  cursor: help;
  text-decoration: underline dotted var(--muted) 1px;
  text-underline-offset: 3px;
}
.term:focus-visible { outline: 2px solid var(--arm-1); outline-offset: 2px; }
#tip {
  position: fixed;
  z-index: 9;
  max-width: min(320px, calc(100vw - 24px));
  padding: 8px 12px;
  background: var(--ink);
  color: var(--page);
  border-radius: 8px;
  font-size: 13px;
  line-height: 1.45;
  pointer-events: none;
}
.notes code { white-space: nowrap; }
.notes li { margin: 6px 0; max-width: 88ch; }
dl {
  display: grid;
  grid-template-columns: max-content 1fr;
  gap: 6px 18px;
}
dt { font-weight: 600; }
dd { margin: 0; color: var(--muted); }
details { margin-top: 12px; }
summary { cursor: pointer; font-weight: 600; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
pre {
  white-space: pre-wrap;
  overflow-wrap: anywhere;
  padding: 14px 16px;
  margin: 8px 0;
}
footer { color: var(--muted); margin-top: 44px; }
.claims th[scope=row], .claims td {
  white-space: normal;
  text-align: left;
  vertical-align: top;
}
.claims tbody th { width: 30%; }
.claims ul {
  margin: 0;
  padding: 0;
  list-style: none;
}
.claims small {
  display: block;
  color: var(--muted);
  overflow-wrap: anywhere;
}
@media (max-width: 760px) {
  main { padding: 18px 14px 48px; }
  .figures { grid-template-columns: minmax(0, 1fr); }
  .verdict { padding: 16px; }
  table, tbody, td, tbody th { display: block; }
  thead { display: none; }
  tbody tr {
    display: grid;
    grid-template-columns: repeat(2, minmax(0, 1fr));
    gap: 0 20px;
    padding: 12px 14px;
    border-bottom: 1px solid var(--line);
  }
  tbody tr:last-child { border-bottom: 0; }
  tbody th {
    border: 0;
    padding: 0 0 6px;
    grid-column: 1 / -1;
    white-space: normal;
    overflow-wrap: anywhere;
  }
  .claims tbody th { width: auto; }
  .claims td { grid-column: 1 / -1; }
  td {
    border: 0;
    padding: 3px 0;
    text-align: left;
  }
  td::before {
    content: attr(data-label);
    display: block;
    color: var(--muted);
    font-size: 12px;
    font-weight: 400;
  }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: 8px; }
}
@media print {
  .legend { position: static; }
  figure, tr { break-inside: avoid; }
}
`;
