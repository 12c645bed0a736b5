import type { resolveConfig } from '../src/rl/config.js';

export function optionsPage(resolve: typeof resolveConfig): string;
