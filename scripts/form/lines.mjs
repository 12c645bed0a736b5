// The gate for long lines and long files.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isCpp, isScript, ownFiles } from './files.mjs';

// A line above this many columns is long.
const LONG_LINE = 120;

// Of a tree's lines, this share may be long.
const LONG_SHARE = 0.01;

// A file above this many lines is long.
const LONG_FILE = 500;

// Each tree is judged by itself, so that a tidy one does not pay for another.
const TREES = ['src', 'native', 'binding', 'test', 'bench', 'scripts', 'examples', 'docs'];

// Of documentation, only prose counts: not the rows of tables, nor what stands in a fence, nor an address
// alone.
function proseLines(text) {
  let inFence = false;
  return text.split('\n').filter((line) => {
    if (line.startsWith('```')) inFence = !inFence;
    return !inFence && !line.trimStart().startsWith('|') && !/^\S+$/.test(line);
  });
}

const isMarkdown = (name) => name.endsWith('.md');
const isJudged = (name) => isCpp(name) || isScript(name) || isMarkdown(name);

/** What is wrong with the lengths of lines and files below `root`, one message each; empty: nothing. */
export function lengthProblems(root, names = ownFiles(root)) {
  const problems = [];
  for (const tree of TREES) {
    let count = 0;
    const long = [];
    for (const name of names.filter((file) => file.startsWith(`${tree}/`) && isJudged(file))) {
      const text = readFileSync(join(root, name), 'utf8');
      const lines = isMarkdown(name) ? proseLines(text) : text.split('\n');
      count += lines.length;
      for (const line of lines) if ([...line].length > LONG_LINE) long.push(name);
      if (!isMarkdown(name) && text.split('\n').length - 1 > LONG_FILE) {
        problems.push(`${name} has ${text.split('\n').length - 1} lines; at most ${LONG_FILE} are allowed`);
      }
    }
    if (long.length > LONG_SHARE * count) {
      const share = ((100 * long.length) / count).toFixed(1);
      const most = [...new Set(long)]
        .map((name) => [name, long.filter((other) => other === name).length])
        .sort((a, b) => b[1] - a[1])
        .slice(0, 8)
        .map(([name, times]) => `${name} ${times}`);
      problems.push(
        `${tree}: ${long.length} of ${count} lines (${share} %) are above ${LONG_LINE} columns: ${most.join(', ')}`,
      );
    }
  }
  return problems;
}
