import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Fresh arena memory is NaN and the engine checks its own calls: reads of undefined memory and wrong
    // shapes show.
    env: { HEADFIRST_POISON: '1', HEADFIRST_VALIDATE: '1' },
    // .ci/run reads the counts from here.
    reporters: process.env['HEADFIRST_TEST_RESULTS']
      ? ['default', ['json', { outputFile: process.env['HEADFIRST_TEST_RESULTS'] }]]
      : ['default'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
