// Makes npm/<platform>/, the package @headfirst/<platform> that carries one prebuilt addon (docs/linking.md,
// "Publishing").
//   node scripts/make-platform-package.mjs [<addon> [<platform>]]
//     default: build/Release/headfirst.node, this machine
//   node scripts/make-platform-package.mjs --list
//     the optionalDependencies of the published main package, as JSON
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version, license, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const platforms = JSON.parse(readFileSync(join(root, 'npm/platforms.json'), 'utf8'));

if (process.argv[2] === '--list') {
  process.stdout.write(
    `${JSON.stringify(Object.fromEntries(Object.keys(platforms).map((name) => [`@headfirst/${name}`, version])))}\n`,
  );
  process.exit();
}

const musl =
  process.platform === 'linux' && readFileSync(process.execPath).subarray(0, 4096).includes('/ld-musl-');
const addon = resolve(process.argv[2] ?? join(root, 'build/Release/headfirst.node'));
const name = process.argv[3] ?? `${process.platform}-${process.arch}${musl ? '-musl' : ''}`;
const platform = platforms[name];
if (!platform) {
  process.stderr.write(
    `make-platform-package: there is no platform '${name}' in npm/platforms.json; it has ` +
      `${Object.keys(platforms).join(', ')}\n`,
  );
  process.exit(1);
}
const folder = join(root, 'npm', name);
mkdirSync(folder, { recursive: true });
copyFileSync(addon, join(folder, 'headfirst.node'));
copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
const { os, cpu, libc } = platform;
const manifest = {
  name: `@headfirst/${name}`,
  version,
  description: `The native addon of headfirst for ${name}`,
  license,
  engines,
  os: [os],
  cpu: [cpu],
  ...(libc ? { libc: [libc] } : {}),
  files: ['headfirst.node'],
  main: 'headfirst.node',
};
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
process.stdout.write(`${folder}\n`);
