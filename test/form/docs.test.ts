/**
 * What our documents and comments name exists: files, folders, links and the headings that links point to.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

/** Names of files and folders of a checkout. */
class Tree {
  readonly #names = new Set<string>(['.']);

  constructor(readonly files: readonly string[]) {
    for (const file of files)
      for (let name = file; name !== '.'; name = posix.dirname(name)) this.#names.add(name);
  }

  /** `path` from the root. */
  has(path: string): boolean {
    return this.#names.has(posix.normalize(path).replace(/\/$/, ''));
  }

  /** `path` from the root, from the folder of the document, or the end of some path: `families/index.ts`. */
  knows(path: string, document: string): boolean {
    const end = `/${path.replace(/\/$/, '')}`;
    return (
      this.has(path) ||
      this.has(posix.join(dirname(document), path)) ||
      [...this.#names].some((name) => name.endsWith(end))
    );
  }
}

/** The heading as GitHub writes it in an address. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');

const FENCE = /^```(\w*)[\s\S]*?^```$/gm;
const HEADING = /^#+ (.*)$/gm;
const LINK = /\]\(([^)\s]+)\)/g;
const CODE = /`([^`\n]+)`/g;
const SOURCE = /[\w./-]+\.(?:ts|mts|mjs|cc|cu|h|inc|py|sh|cmake|md)\b/g;
const IN_A_TREE = /^(?:src|native|binding|test|bench|scripts|examples|docs|cmake)\//;
/** Made by a build or a run: not of the checkout. */
const MADE = /^(?:build|dist|runs|node_modules)\//;

/** Paths in code spans, and in drawings: what ends like a source, or begins like a folder of ours. */
function pathsIn(text: string): string[] {
  const drawings = [...text.matchAll(FENCE)].filter(([, language]) => language === 'mermaid');
  const drawn = drawings.flatMap(([drawing]) => [...drawing.matchAll(SOURCE)].map(([path]) => path));
  const spans = [...text.replace(FENCE, '').matchAll(CODE)].map(([, span]) => span!);
  const isPath = (span: string) => /^[\w./-]+$/.test(span) && !MADE.test(span) && !span.startsWith('.');
  const isOurs = (span: string) => IN_A_TREE.test(span) || span.match(SOURCE)?.[0] === span;
  return [...drawn, ...spans.filter((span) => isPath(span) && isOurs(span))];
}

/** A sentence for everything that a document names and that is not there. */
function documentProblems(document: string, text: string, tree: Tree, read: (file: string) => string) {
  const missing = pathsIn(text).filter((path) => !tree.knows(path, document));
  const links = [...text.replace(FENCE, '').matchAll(LINK)]
    .map(([, address]) => address!)
    .filter((address) => !/^(?:https?|mailto):/.test(address));
  const broken = links.filter((address) => {
    const [path = '', anchor] = address.split('#');
    const target = path === '' ? document : posix.join(dirname(document), path);
    if (!tree.has(target)) return true;
    if (anchor === undefined) return false;
    const headings = [...read(target).replace(FENCE, '').matchAll(HEADING)].map(([, heading]) => heading!);
    return !headings.map(anchorOf).includes(anchor);
  });
  return [
    ...missing.map((path) => `${document} names ${path}, which does not exist`),
    ...broken.map((address) => `${document} links to ${address}, which does not exist`),
  ];
}

const COMMENT = /^\s*(?:\/\/|\/?\*|#).*$/gm;
/** From the root. What a commit follows (`… at f2cd577`) is a file of others. */
const ROOTED =
  /(?<![\w./@-])(?:src|native|binding|test|bench|scripts|examples|docs|cmake)\/[\w./-]+\.\w+\b(?! at [0-9a-f]{7})/g;

/** A sentence for every path in a comment that is not there. */
function commentProblems(file: string, text: string, tree: Tree): string[] {
  const comments = text.match(COMMENT) ?? [];
  const paths = comments.flatMap((comment) => comment.match(ROOTED) ?? []);
  return paths.filter((path) => !tree.has(path)).map((path) => `${file} names ${path}, which does not exist`);
}

const listed = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
});
const tree = new Tree(
  listed.stdout.split('\n').filter((name) => name !== '' && existsSync(join(ROOT, name))),
);
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

describe('the checkout', () => {
  it('has every file and heading that the documents name', () => {
    // The changelog names what is gone; the others are written by programs.
    const documents = tree.files.filter(
      (name) => name.endsWith('.md') && name !== 'CHANGELOG.md' && !/^docs\/(?:examples|study)\//.test(name),
    );
    expect(documents.map((name) => basename(name))).toContain('architecture.md');
    expect(documents.flatMap((name) => documentProblems(name, read(name), tree, read))).toEqual([]);
  });

  it('has every file that a comment names', () => {
    const sources = tree.files.filter((name) => /\.(?:ts|mts|mjs|cc|cu|h|inc|py|sh|cmake|txt)$/.test(name));
    expect(sources.length).toBeGreaterThan(500);
    expect(sources.flatMap((name) => commentProblems(name, read(name), tree))).toEqual([]);
  });
});

describe('the check itself', () => {
  const small = new Tree(['README.md', 'docs/a.md', 'src/rl/here.ts', 'native/ops/norm.h']);
  const texts: Record<string, string> = { 'docs/a.md': '# A b, `c`\n' };
  const problems = (text: string) => documentProblems('docs/b.md', text, small, (file) => texts[file] ?? '');

  it('is green on what exists', () => {
    const text = [
      '`src/rl/here.ts`, `rl/here.ts`, `src/rl/` and `native/ops/*/none.h`, `build/none.ts`, `a.b`, `c/d`',
      '[A](a.md#a-b-c), [top](../README.md), [web](https://example.org/none.md)',
      '```ts\n// src/none.ts\n```',
      '```mermaid\nflowchart LR\n  a["rl/here.ts<br>words"]\n```',
    ];
    expect(problems(text.join('\n'))).toEqual([]);
  });

  it.each([
    ['`src/rl/gone.ts`', 'docs/b.md names src/rl/gone.ts, which does not exist'],
    ['`src/gone/`', 'docs/b.md names src/gone/, which does not exist'],
    ['`gone.h`', 'docs/b.md names gone.h, which does not exist'],
    ['```mermaid\na["rl/gone.ts<br>x"]\n```', 'docs/b.md names rl/gone.ts, which does not exist'],
    ['[A](gone.md)', 'docs/b.md links to gone.md, which does not exist'],
    ['[A](a.md#gone)', 'docs/b.md links to a.md#gone, which does not exist'],
  ])('is red on %j', (text, problem) => {
    expect(problems(text)).toEqual([problem]);
  });

  it('is red on a comment, and on comments alone', () => {
    const text = "// See src/gone.ts.\n/**\n * native/ops/norm.h\n */\nconst a = 'src/data.ts';\n";
    expect(commentProblems('src/x.ts', text, small)).toEqual([
      'src/x.ts names src/gone.ts, which does not exist',
    ]);
  });
});
