/** Pieces of HTML that every part of a page is made from. */
import { type DefinitionKey, DEFINITIONS } from './definitions.js';
import { armColor } from './figures.js';

export const escapeHtml = (text: unknown): string =>
  String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** For text inside <script>: nothing in it may close the element. */
export const scriptSafe = (source: string): string => source.replace(/<(?=\/script|!--)/gi, '\\x3c');

/** A word that explains itself on hover or focus. */
export const hint = (html: string, text: string): string =>
  `<span class="term" tabindex="0" data-tip="${escapeHtml(text)}">${html}</span>`;

/** A word with its definition. */
export const term = (label: string, key: DefinitionKey): string =>
  hint(escapeHtml(label), DEFINITIONS[key].text);

/** The coloured dot of an arm; nothing for what belongs to none. */
export const dot = (index: number): string =>
  index < 0 ? '' : `<i class="dot" style="--arm:${armColor(index)}"></i>`;

export const list = (items: readonly string[]): string =>
  `<ul>${items.map((item) => `<li>${item}</li>`).join('')}</ul>`;

/** A heading and the sentence under it. */
export const section = (heading: string, lead: string): string =>
  `<h2>${heading}</h2><p class="lead">${lead}</p>`;

/** A table in a card. `head`: cells after the empty one above the rows' names. */
export function table(head: readonly string[], rows: readonly string[], className?: string): string {
  const attribute = className === undefined ? '' : ` class="${className}"`;
  return (
    `<div class="card"><table${attribute}><thead><tr><td></td>${head.join('')}</tr></thead>` +
    `<tbody>${rows.join('\n')}</tbody></table></div>`
  );
}

export const columnHead = (html: string): string => `<th scope="col">${html}</th>`;
export const rowHead = (html: string): string => `<th scope="row">${html}</th>`;

/** A cell. On narrow screens a row is a list: `label` then stands before the value. */
export const cell = (label: string, html: string, className?: string): string => {
  const attribute = className === undefined ? '' : ` class="${className}"`;
  return `<td data-label="${escapeHtml(label)}"${attribute}>${html}</td>`;
};
