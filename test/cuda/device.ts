/**
 * Must be the first import of a test of CUDA kernels: has the library load the addon whose CUDA column runs
 * on the emulated device, or, with HEADFIRST_TEST_GPU=1 (npm run test:gpu), the real one.
 */
import { fileURLToPath } from 'node:url';

export const onHardware = process.env['HEADFIRST_TEST_GPU'] === '1';
if (!onHardware)
  process.env['HEADFIRST_ADDON'] ??= fileURLToPath(
    new URL('../../build/Release/headfirst_emulated.node', import.meta.url),
  );
