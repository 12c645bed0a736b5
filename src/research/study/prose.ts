/** Markdown whose prose has one sentence, or one clause of a long sentence, per line. */

/** The longest line of prose, in columns. Tables, headings and fences keep theirs. */
const COLUMNS = 110;

/** The start of a line, and how the lines after it are indented. */
const ITEM = /^(?<first>\s*(?:[-*]|\d+\.) )/;
const LAID_OUT = /^(\s*\||#|\s*$|!\[|<)/;
const SENTENCE_END = /(?<=[.!?]\)?) (?=[A-Z`*(‖])/;

const width = (text: string): number => [...text].length;

/**
 * Where a long sentence breaks best: behind its last clause that fits, else behind the last word that does.
 */
function breakOf(sentence: string, room: number): number {
  const head = [...sentence].slice(0, room + 1).join('');
  const clause = Math.max(...['; ', ', ', ': ', ') '].map((mark) => head.lastIndexOf(mark)));
  const isFarEnough = clause > room / 3;
  return isFarEnough ? clause + 1 : head.lastIndexOf(' ');
}

function pieces(text: string, room: number): string[] {
  const lines: string[] = [];
  for (const sentence of text.split(SENTENCE_END)) {
    let rest = sentence;
    while (width(rest) > room) {
      const end = breakOf(rest, room);
      if (end <= 0) break;
      lines.push(rest.slice(0, end).trimEnd());
      rest = rest.slice(end).trimStart();
    }
    lines.push(rest);
  }
  return lines;
}

/** The same document, its long lines of prose broken. Markdown shows both alike. */
export function onePerLine(markdown: string): string {
  let inFence = false;
  const lines = markdown.split('\n').flatMap((line) => {
    if (line.startsWith('```')) inFence = !inFence;
    if (inFence || LAID_OUT.test(line) || width(line) <= COLUMNS) return [line];
    const first = ITEM.exec(line)?.groups?.['first'] ?? /^\s*/.exec(line)![0];
    const following = ' '.repeat(first.length);
    const broken = pieces(line.slice(first.length), COLUMNS - first.length);
    return broken.map((piece, i) => (i === 0 ? first : following) + piece);
  });
  return lines.join('\n');
}
