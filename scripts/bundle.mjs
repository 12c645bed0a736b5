// dist: what tsc wrote to build/js, joined into a few files: a hundred small modules take Node.js longer to
// find and link than to run. Dependencies stay outside. tsc writes the declarations beside them.
import { fileURLToPath } from 'node:url';

import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const bundle = await rolldown({
  cwd: root,
  input: {
    index: 'build/js/index.js',
    'core/addon/index': 'build/js/core/addon/index.js',
    'cli/main': 'build/js/cli/main.js',
  },
  platform: 'node',
  external: /^[^./]/, // every import that is not a path
  checks: { ineffectiveDynamicImport: false }, // what one place loads late another may need at once
});
// What `import 'headfirst'` needs is one file, and what the command line shares with it before any command is
// chosen is another: `headfirst info` and `build` have to run without the addon, which the first one loads.
const entry = (name) => `${root}build/js/${name}.js`;
function reach(from, graph, seen = new Set()) {
  if (!seen.has(from)) {
    seen.add(from);
    for (const id of graph.getModuleInfo(from)?.importedIds ?? []) reach(id, graph, seen);
  }
  return seen;
}
let library, commandLine;
function chunkOf(id, graph) {
  library ??= reach(entry('index'), graph);
  commandLine ??= reach(entry('cli/main'), graph);
  if (!library.has(id)) return null;
  return commandLine.has(id) ? 'common' : 'library';
}
await bundle.write({
  dir: `${root}dist`,
  format: 'esm',
  chunkFileNames: 'chunks/[name].js',
  minify: { compress: true, mangle: { keepNames: true }, codegen: { removeWhitespace: true } }, // comments are in the declarations
  codeSplitting: { groups: [{ name: chunkOf, debugName: 'library and common' }] },
});
await bundle.close();
