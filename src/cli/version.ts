/** What is running: this package's version, and what a result was made with. */
import { arch, platform } from 'node:os';

import type { Context } from '../core/context.js';
import { packageVersion } from '../core/addon/locate.js';

/** Of this package. */
export const version = packageVersion;

/** What a result was made with. */
export const environmentOf = (context: Context): Record<string, string | number> => ({
  headfirst: version,
  node: process.versions.node,
  platform: `${platform()}-${arch()}`,
  kernels: context.backend,
  threads: context.threads,
});
