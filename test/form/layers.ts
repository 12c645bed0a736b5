/** Who may use whom, and the reading of imports and includes that the layering test needs. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Path relative to the repository, and the text. */
export type Sources = ReadonlyMap<string, string>;

/** One `import` or `#include` of a file of our own. */
export interface Arrow {
  readonly from: string;
  readonly to: string;
}

/**
 * The rooms of a tree, from the bottom to the top: a file may use what lies in its own room and in the rooms
 * before it. Rooms in one entry stand side by side and do not see each other. A name that ends in '/' is a
 * folder with all that is in it, any other name is one file.
 */
export type Layers = readonly (readonly string[])[];

/** src/, bottom to top. docs/architecture.md draws the same picture. */
export const TYPESCRIPT_LAYERS: Layers = [
  ['src/errors.ts'],
  ['src/core/'],
  ['src/kernels/'],
  ['src/policy/'],
  ['src/model/'],
  ['src/ntk/'],
  ['src/evaluation/'],
  ['src/rl/interfaces.ts', 'src/rl/spaces.ts', 'src/rl/config/'],
  ['src/rl/loss/'],
  ['src/rl/rollout/'],
  ['src/rl/rewards/'],
  ['src/rl/credit/'],
  ['src/rl/run/'],
  ['src/rl/trainers/'],
  ['src/rl/index.ts'],
  ['src/analysis/'],
  ['src/report/'],
  ['src/index.ts', 'src/research/'],
  ['src/cli/'],
];

/** native/ and binding/, bottom to top. The columns of the ops are listed in NATIVE_COLUMNS. */
export const NATIVE_LAYERS: Layers = [
  ['native/core/'],
  ['native/runtime/'],
  ['native/ops/'],
  ['native/model/'],
  ['native/policy/', 'native/ntk/'],
  ['native/analysis/'],
  ['native/capi/', 'binding/'],
];

/** What implements ops sees contracts and its own backend, never another column, and nobody includes it. */
const NATIVE_COLUMNS = ['reference', 'cpu', 'cuda'] as const;

export function readSources(folders: readonly string[], pattern: RegExp): Sources {
  const found = new Map<string, string>();
  for (const folder of folders) {
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (pattern.test(name)) found.set(`${folder}/${name}`, readFileSync(join(root, folder, name), 'utf8'));
    }
  }
  return found;
}

const RELATIVE_IMPORT = /\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g;

/** Imports of every kind, type-only ones and re-exports included. */
export function importsOf(sources: Sources): Arrow[] {
  return [...sources].flatMap(([from, text]) =>
    [...text.matchAll(RELATIVE_IMPORT)].map(([, specifier]) => ({
      from,
      to: posix.join(dirname(from), specifier!).replace(/\.js$/, '.ts'),
    })),
  );
}

const OWN_INCLUDE = /^\s*#\s*include "([^"]+)"/gm;

/** Includes of files that are among the sources: first beside the including file, then from native/. */
export function includesOf(sources: Sources): Arrow[] {
  return [...sources].flatMap(([from, text]) =>
    [...text.matchAll(OWN_INCLUDE)].flatMap(([, name]) => {
      const to = [posix.join(dirname(from), name!), `native/${name}`].find((path) => sources.has(path));
      return to === undefined ? [] : [{ from, to }];
    }),
  );
}

const isIn = (room: string, file: string): boolean =>
  room.endsWith('/') ? file.startsWith(room) : file === room;

/** Where a file lies: the entry's number and the room. The longest matching name wins. */
function placeOf(
  layers: Layers,
  file: string,
): { readonly level: number; readonly room: string } | undefined {
  const places = layers.flatMap((rooms, level) => rooms.map((room) => ({ level, room })));
  const matching = places.filter(({ room }) => isIn(room, file));
  return matching.sort((a, b) => b.room.length - a.room.length)[0];
}

/** A sentence for every arrow that points upwards or sideways, and for every file that has no room. */
export function layeringProblems(
  layers: Layers,
  files: Iterable<string>,
  arrows: readonly Arrow[],
): string[] {
  const homeless = [...files].filter((file) => placeOf(layers, file) === undefined);
  const wrong = arrows.filter(({ from, to }) => {
    const user = placeOf(layers, from);
    const used = placeOf(layers, to);
    if (user === undefined || used === undefined || user.room === used.room) return false;
    return used.level >= user.level;
  });
  return [
    ...homeless.map((file) => `${file} is in no room of test/form/layers.ts`),
    ...wrong.map(({ from, to }) => `${from} may not use ${to}`),
  ];
}

type Column = (typeof NATIVE_COLUMNS)[number];

/** The backend that a file of native/ belongs to, if any. */
export function columnOf(file: string): Column | undefined {
  return NATIVE_COLUMNS.find(
    (column) =>
      file.startsWith(`native/backends/${column}/`) || new RegExp(`^native/ops/\\w+/${column}/`).test(file),
  );
}

/** Includes across columns, and of a column by anything outside of it. */
export function columnProblems(arrows: readonly Arrow[]): string[] {
  return arrows
    .filter(({ from, to }) => columnOf(to) !== undefined && columnOf(to) !== columnOf(from))
    .map(({ from, to }) => `${from} may not use ${to}: only the backend itself may`);
}

/**
 * Groups of files that use each other in a circle (Tarjan's strongly connected components of two or more).
 */
export function cycles(arrows: readonly Arrow[]): string[][] {
  const uses = new Map<string, string[]>();
  for (const { from, to } of arrows) uses.set(from, [...(uses.get(from) ?? []), to]);
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  function visit(file: string): void {
    order.set(file, order.size);
    lowest.set(file, order.get(file)!);
    stack.push(file);
    for (const used of uses.get(file) ?? []) {
      if (!order.has(used)) visit(used);
      if (stack.includes(used)) lowest.set(file, Math.min(lowest.get(file)!, lowest.get(used)!));
    }
    if (lowest.get(file) !== order.get(file)) return;
    const group = stack.splice(stack.indexOf(file));
    const usesItself = (uses.get(file) ?? []).includes(file);
    if (group.length > 1 || usesItself) found.push(group);
  }
  for (const file of uses.keys()) if (!order.has(file)) visit(file);
  return found;
}
