/** Finds and loads the native addon. The one place that knows where binaries lie. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import type { NativeAddon } from './types.js';

const require = createRequire(import.meta.url);

function load(): NativeAddon {
  const override = process.env['HEADFIRST_ADDON'];
  const candidates = [
    ...(override ? [override] : []),
    fileURLToPath(new URL('../../build/Release/headfirst.node', import.meta.url)),
  ];
  const causes: string[] = [];
  for (const path of candidates) {
    try {
      return require(path) as NativeAddon;
    } catch (error) {
      causes.push(`  ${path}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  const error = new Error(
    `headfirst: the native addon could not be loaded. Tried:\n${causes.join('\n')}\n` +
      'Build it in the package folder with: npm run build:native (needs CMake and a C++20 compiler)',
  );
  throw Object.assign(error, { code: 'ERR_BACKEND_UNAVAILABLE' });
}

export const addon: NativeAddon = load();
