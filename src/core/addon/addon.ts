/**
 * Loads the native addon: HEADFIRST_ADDON, else the local build, else the platform package (locate.ts), else
 * one error that names every cause.
 */
import './node.js';

import { type CodedError, codedError, hasCode } from '../../errors.js';
import { candidates, damage, explain, loadError, packageVersion } from './locate.js';
import type { NativeAddon } from './contract.js';

/**
 * The addon loaded and then refused, for what is wrong with this process (HEADFIRST_ISA): no other file would
 * do.
 */
const isRefusal = (error: unknown): boolean =>
  hasCode(error, 'ERR_INVALID_ARG') || hasCode(error, 'ERR_BACKEND_UNAVAILABLE');

/** The addon's exports. @throws an Error whose message says, in one line, why `path` cannot be used. */
function open(path: string): NativeAddon {
  const problem = damage(path);
  if (problem !== undefined) throw new Error(problem);
  const module = { exports: {} as NativeAddon };
  try {
    process.dlopen(module, path);
  } catch (error) {
    const { code, message } = error as CodedError;
    if (isRefusal(error)) throw codedError(code, `headfirst: ${message}`);
    throw new Error(explain(path, message));
  }
  const { ops, version } = module.exports;
  if (!Array.isArray(ops)) throw new Error(`${path}: is another package's addon, not headfirst's`);
  if (version !== packageVersion)
    throw new Error(
      `${path}: belongs to headfirst ${version ?? 'of an older build'}, this is ${packageVersion}; ` +
        'build it again',
    );
  return module.exports;
}

function load(): { addon: NativeAddon; path: string } {
  const causes: string[] = [];
  for (const { source, path, problem } of candidates()) {
    try {
      if (path !== undefined) return { addon: open(path), path };
      causes.push(`${source}: ${problem}`);
    } catch (error) {
      if (isRefusal(error)) throw error;
      causes.push(`${source}: ${(error as Error).message}`);
    }
  }
  throw loadError(causes);
}

const loaded = load();
export const addon: NativeAddon = loaded.addon;
/** The file it came from. */
export const loadedPath: string = loaded.path;
