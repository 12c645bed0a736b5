/** Rewards by specification, as a command line gives them. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { check, text } from '../../core/check.js';
import { fail, suggestion } from '../../errors.js';
import type { RewardFunc } from '../interfaces.js';
import { builtinRewards, httpReward } from './index.js';

/** A built-in's name, and after a colon its argument. */
const BUILTIN = /^([a-z]+)(?::(.*))?$/s;

/**
 * A reward by specification: a built-in's name, with `:argument` where it takes one (`regex:^\\d+$`), the
 * address of a reward server, or a module path, with `#exportName` unless it is the default export or the
 * only one.
 * @throws ERR_INVALID_ARG for an unknown name, ERR_IO for a module that cannot be loaded.
 */
export async function loadReward(specification: string): Promise<RewardFunc> {
  check('loadReward', 'specification', specification, text);
  const [, name, argument] = BUILTIN.exec(specification) ?? [];
  if (name !== undefined && Object.hasOwn(builtinRewards, name)) return builtinRewards[name]!(argument);
  if (/^https?:\/\//.test(specification)) return httpReward({ url: specification });
  const isPath = /[./\\]/.test(specification);
  if (!isPath) {
    const known = Object.keys(builtinRewards);
    fail(
      'ERR_INVALID_ARG',
      `loadReward: '${specification}' is neither a built-in reward (${known.join(', ')}) nor a module path.` +
        suggestion(specification, known),
    );
  }
  const [path, exportName] = specification.split('#') as [string, string?];
  return loadFromModule(path, exportName);
}

async function loadFromModule(path: string, exportName: string | undefined): Promise<RewardFunc> {
  const module: Record<string, unknown> = await import(pathToFileURL(resolve(path)).href).catch(
    (error: Error) => fail('ERR_IO', `loadReward: ${path} cannot be loaded (${error.message})`, error),
  );
  const names = Object.keys(module).filter((key) => typeof module[key] === 'function');
  const only = names.length === 1 ? module[names[0]!] : undefined;
  const found = exportName === undefined ? (module['default'] ?? only) : module[exportName];
  if (typeof found === 'function') return found as RewardFunc;
  const exported = `it exports ${names.join(', ') || 'none'}`;
  return fail(
    'ERR_INVALID_ARG',
    exportName === undefined
      ? `loadReward: ${path} must export one function, or a default; ${exported}; choose with '${path}#name'`
      : `loadReward: ${path} has no function '${exportName}'; ${exported}.${suggestion(exportName, names)}`,
  );
}
