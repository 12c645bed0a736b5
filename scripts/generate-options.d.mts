import type { resolveConfig } from '../src/rl/config/config.js';

export function optionsPage(resolve: typeof resolveConfig): string;
