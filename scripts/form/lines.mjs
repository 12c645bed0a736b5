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

// Each tree is judged by itself, so that a tidy one does not pay for another. The last are the files beside
// the folders: README.md, CMakeLists.txt and their like.
const TOP = 'the top folder';
const TREES = ['src', 'native', 'binding', 'test', 'bench', 'scripts', 'examples', 'docs', 'cmake', TOP];
const treeOf = (name) => (name.includes('/') ? name.slice(0, name.indexOf('/')) : TOP);

const isMarkdown = (name) => name.endsWith('.md');
const isOther = (name) => /\.(py|sh|cmake)$|(^|\/)CMakeLists\.txt$/.test(name);
const isJudged = (name) => isCpp(name) || isScript(name) || isMarkdown(name) || isOther(name);

// Of documentation, only prose counts: not the rows of tables, nor what stands in a fence, nor an address
// alone.
function proseLines(lines) {
  let inFence = false;
  return lines.filter((line) => {
    if (line.startsWith('```')) inFence = !inFence;
    return !inFence && !line.trimStart().startsWith('|') && !/^\S+$/.test(line);
  });
}

// The files of a tree with the most long lines, and how many: 'a.ts 3, b.ts 1'.
function worstOf(files) {
  const sorted = files.filter(({ long }) => long > 0).sort((a, b) => b.long - a.long);
  return sorted
    .slice(0, 8)
    .map(({ name, long }) => `${name} ${long}`)
    .join(', ');
}

function longLineProblems(tree, files) {
  const sum = (of) => files.reduce((total, file) => total + of(file), 0);
  const count = sum(({ judged }) => judged.length);
  const long = sum((file) => file.long);
  if (long <= LONG_SHARE * count) return [];
  const share = ((100 * long) / count).toFixed(1);
  return [
    `${tree}: ${long} of ${count} lines (${share} %) are above ${LONG_LINE} columns: ${worstOf(files)}`,
  ];
}

function readFile(root, name) {
  const lines = readFileSync(join(root, name), 'utf8').split('\n');
  const judged = isMarkdown(name) ? proseLines(lines) : lines;
  const long = judged.filter((line) => [...line].length > LONG_LINE).length;
  return { name, length: lines.length - 1, judged, long };
}

/** What is wrong with the lengths of lines and files below `root`, one message each; empty: nothing. */
export function lengthProblems(root, names = ownFiles(root)) {
  const files = names.filter(isJudged).map((name) => readFile(root, name));
  const longFiles = files.filter(({ length }) => length > LONG_FILE);
  return [
    ...longFiles.map(({ name, length }) => `${name} has ${length} lines; at most ${LONG_FILE} are allowed`),
    ...TREES.flatMap((tree) =>
      longLineProblems(
        tree,
        files.filter(({ name }) => treeOf(name) === tree),
      ),
    ),
  ];
}
