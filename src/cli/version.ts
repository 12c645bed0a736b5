import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';

import type { Context } from '../core/context.js';

/** Of this package. */
export const version: string = (createRequire(import.meta.url)('../../package.json') as { version: string }).version;

/** What a result was made with. */
export const environmentOf = (context: Context): Record<string, string | number> => ({
  headfirst: version, node: process.versions.node, platform: `${platform()}-${arch()}`, kernels: context.backend, threads: context.threads,
});
