import { Command } from 'commander';

import { integer } from '../flags.js';

export const build = (): Command =>
  new Command('build')
    .description(
      'build the native addon from the shipped sources (offline; needs CMake, make and a C++20 compiler)',
    )
    .option('--jobs <n>', 'compile this many files at a time (default: one per processor)', integer(1))
    .option('--cuda', 'build the CUDA kernels, too (default: where a GPU and nvcc are found)')
    .option('--no-cuda', 'leave the CUDA kernels out')
    .action(async (options: { jobs?: number; cuda?: boolean }) => {
      const { buildNative } = await import('../../core/addon/buildAddon.js');
      process.stdout.write(`${buildNative(options)}\n`);
    });
