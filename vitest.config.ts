import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The CUDA kernels on the emulated device take longer than all else together: npm run test:emulation, or test:gpu on hardware.
    exclude: process.env['HEADFIRST_TEST_CUDA'] === '1' ? [] : ['test/cuda/{kernels,math,engine}.test.ts'],
    // Fresh arena memory is NaN and the engine checks its own calls: reads of undefined memory and wrong shapes show.
    env: { HEADFIRST_POISON: '1', HEADFIRST_VALIDATE: '1' },
    // .ci/run reads the counts from here.
    reporters: process.env['HEADFIRST_TEST_RESULTS'] ? ['default', ['json', { outputFile: process.env['HEADFIRST_TEST_RESULTS'] }]] : ['default'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
