import type * as losses from '../src/policy/losses.js';
import type { resolveConfig } from '../src/rl/config/config.js';

export function optionsPage(resolve: typeof resolveConfig, tables: typeof losses): string;
