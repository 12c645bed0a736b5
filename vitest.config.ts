import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Fresh arena memory is NaN and the engine checks its own calls: reads of undefined memory and wrong shapes show.
    env: { HEADFIRST_POISON: '1', HEADFIRST_VALIDATE: '1' },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
