/** A drawing on a page. */
import { renderSvg } from './figures.js';
import { escapeHtml, scriptSafe, term } from './markup.js';
import type { Panel } from './panels.js';

/** A drawing, and beside it the data from which a browser draws it again, live. */
export function panelHtml({ id, title, definition, option, height }: Panel): string {
  const save = `<button class="save" data-name="${escapeHtml(id)}" title="Save this figure as SVG" hidden>SVG</button>`;
  const data = scriptSafe(JSON.stringify(option)).replace(/\\x3c/g, '\\u003c');
  return (
    `<figure class="card" style="--height:${height}px"><h3>${term(title, definition)}${save}</h3>` +
    `<div class="chart" role="img" aria-label="${escapeHtml(title)}">${renderSvg(option, 560, height)}</div>` +
    `<script type="application/json">${data}</script></figure>`
  );
}
