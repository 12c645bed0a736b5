import { defineConfig, mergeConfig } from 'vitest/config';

import whole from './vitest.config.js';

/** `npm run test:fast`: all but the files that take more than six seconds each, on every core. */
const SLOW = [
  'test/cuda/**', // every kernel on the emulated device
  'test/kernels/kernels.test.ts', // every kernel on every instruction set
  'test/native/{blas,bf16math}.test.ts',
  'test/cli/cli.test.ts',
  'test/bench/bench.test.ts',
  'test/consumer/consumer.test.ts', // packs, installs and links the package
];

export default mergeConfig(whole, defineConfig({ test: { exclude: SLOW, maxWorkers: '100%' } }));
