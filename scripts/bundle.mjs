// Makes dist: what tsc wrote to build/js, joined into a few files, because a hundred small modules take
// Node.js longer to find and link than to run. Names, lines and line breaks stay as they are: a stack trace
// of a user names the function and a short line. Comments are in the declarations, which tsc writes beside
// these files. Dependencies stay outside.
import { fileURLToPath } from 'node:url';

import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiled = (name) => `${root}build/js/${name}.js`;

const bundle = await rolldown({
  cwd: root,
  input: {
    index: compiled('index'),
    'core/addon/index': compiled('core/addon/index'),
    'cli/main': compiled('cli/main'),
  },
  platform: 'node',
  external: /^[^./]/, // every import that is not a path
  checks: { ineffectiveDynamicImport: false }, // what one place loads late another may need at once
});

/** The modules that a module needs at once, itself included. */
function reach(module, graph, seen = new Set()) {
  if (seen.has(module)) return seen;
  seen.add(module);
  for (const imported of graph.getModuleInfo(module)?.importedIds ?? []) reach(imported, graph, seen);
  return seen;
}

let library;
let commandLine;

/**
 * What `import 'headfirst'` needs is one file, and what the command line shares with it before any command is
 * chosen is another: `headfirst info` and `build` have to run without the addon, which the first one loads.
 */
function chunkOf(module, graph) {
  library ??= reach(compiled('index'), graph);
  commandLine ??= reach(compiled('cli/main'), graph);
  if (!library.has(module)) return null;
  return commandLine.has(module) ? 'common' : 'library';
}

await bundle.write({
  dir: `${root}dist`,
  format: 'esm',
  chunkFileNames: 'chunks/[name].js',
  comments: false,
  codeSplitting: { groups: [{ name: chunkOf, debugName: 'library and common' }] },
});
await bundle.close();
