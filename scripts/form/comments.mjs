// Wraps the comments of TypeScript and JavaScript: biome formats code, but leaves comments as long as they
// are.

// The longest line of a comment, in columns.
const COLUMNS = 110;

// A comment that fills its line: the indentation, its mark, and the text.
const COMMENT = /^(\s*)(\/\/|\/\*\*|\*)( +)(\S.*)$/;
// What begins a paragraph of its own: a tag, an item of a list, a heading, a fence, a row of a table.
const OWN_PARAGRAPH = /^(@|[-*+] |\d+\. |#|```|\||\/)/;
// Text with a gap or a row of a table is laid out by hand.
const LAID_OUT = /\S {2,}\S|^\||\|$/;
const DIRECTIVE = /^(biome-ignore|@ts-|eslint|#region|#endregion|!)/;

const width = (text) => [...text].length;

function pieces(text, room) {
  const lines = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && width(line) + 1 + width(word) > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines;
}

// `/** text */` on a line of its own, too long: its parts get lines of their own.
function expandBlock(line) {
  const match = /^(\s*)\/\*\* (.*?) ?\*\/$/.exec(line);
  if (!match || width(line) <= COLUMNS) return [line];
  const [, indent, text] = match;
  return [`${indent}/**`, `${indent} * ${text}`, `${indent} */`];
}

/** `source` with the rules behind titles, as in `// ---- title -----`, cut where lines end. */
export function shortenTitles(source) {
  return source.replace(/^( *\/\/ -+ [^\n]*? )-{8,}$/gm, (line, begin) =>
    width(line) <= COLUMNS ? line : begin + '-'.repeat(COLUMNS - width(begin)),
  );
}

/**
 * `source` with every comment line that is too long wrapped, its rest put before the paragraph's next line.
 */
export function wrapComments(source) {
  const lines = shortenTitles(source).split('\n').flatMap(expandBlock);
  const result = [];
  let inFence = false;
  let inBlock = false;
  for (let i = 0; i < lines.length; ++i) {
    const line = lines[i];
    const match = COMMENT.exec(line);
    if (/^\s*\/\*/.test(line)) inBlock = true;
    const isComment = match !== null && (match[2] === '//' || inBlock);
    if (/\*\//.test(line)) inBlock = false;
    if (!isComment) {
      result.push(line);
      continue;
    }
    const [, indent, mark, gap, text] = match;
    if (text.startsWith('```')) inFence = !inFence;
    const byHand = inFence || gap.length > 1 || LAID_OUT.test(text) || DIRECTIVE.test(text);
    if (width(line) <= COLUMNS || byHand || mark === '/**') {
      result.push(line);
      continue;
    }
    const hanging = /^(?:[-*+]|\d+\.) /.exec(text)?.[0].length ?? 0;
    const head = `${indent}${mark}${gap}`;
    const [first, ...rest] = pieces(text, COLUMNS - width(head));
    result.push(head + first);
    if (rest.length === 0) continue;
    const further = pieces(rest.join(' '), COLUMNS - width(head) - hanging);
    for (const piece of further.slice(0, -1)) result.push(`${head}${' '.repeat(hanging)}${piece}`);
    const last = further.at(-1);
    const next = COMMENT.exec(lines[i + 1] ?? '');
    const sameParagraph =
      next !== null &&
      next[1] === indent &&
      next[2] === mark &&
      next[3].length === gap.length + hanging &&
      !OWN_PARAGRAPH.test(next[4]) &&
      !DIRECTIVE.test(next[4]) &&
      !LAID_OUT.test(next[4]);
    if (sameParagraph && hanging === 0) lines[i + 1] = `${head}${last} ${next[4]}`;
    else result.push(`${head}${' '.repeat(hanging)}${last}`);
  }
  return result.join('\n');
}
