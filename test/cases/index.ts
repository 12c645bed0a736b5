/** The cases of all ops (list.ts), in alphabetical order. */
import type { OpCases } from './define.js';
import * as list from './list.js';

export const allCases: readonly OpCases[] = Object.values(list);
