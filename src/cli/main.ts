#!/usr/bin/env node
/**
 * headfirst on the command line. Results on stdout; logs and progress on stderr. Exit codes: 0 done, 1
 * failed, 2 wrong usage, 130 stopped by Ctrl-C.
 */
import '../core/addon/node.js';

import { Command, CommanderError } from 'commander';

import { analyze } from './commands/analyze.js';
import { bench } from './commands/bench.js';
import { build } from './commands/build.js';
import { demo } from './commands/demo.js';
import { evaluate } from './commands/eval.js';
import { generate } from './commands/generate.js';
import { info } from './commands/info.js';
import { ntk } from './commands/ntk.js';
import { report } from './commands/report.js';
import { reproduce } from './commands/reproduce.js';
import { train } from './commands/train.js';
import { verify } from './commands/verify.js';
import { usageErrors } from './flags.js';
import { INTERRUPTED, Interrupted } from './interrupt.js';
import { version } from './version.js';

/** A command is one file in commands/ that makes a commander Command, and one line here. */
const commands = [
  demo,
  reproduce,
  train,
  evaluate,
  generate,
  ntk,
  analyze,
  report,
  bench,
  verify,
  info,
  build,
];

function message(error: unknown): string {
  const { message: text = String(error), code } = (error ?? {}) as { message?: string; code?: string };
  return `headfirst: ${text.trim().replace(/^headfirst: /, '')}${code ? ` [${code}]` : ''}`;
}

/** What a failure looks like on stderr; HEADFIRST_DEBUG=1 shows where it came from. */
function failureText(error: unknown): string {
  const debug = process.env['HEADFIRST_DEBUG'] === '1';
  return debug ? ((error as Error).stack ?? String(error)) : message(error);
}

function makeProgram(): Command {
  const program = new Command('headfirst')
    .description(
      'Learning dynamics of language models: RL post-training, classifier-first RL, and what each update did',
    )
    .version(version);
  for (const make of commands) program.addCommand(make());
  for (const command of [program, ...program.commands])
    command.exitOverride().showSuggestionAfterError().configureOutput(usageErrors);
  return program;
}

/** The exit code. */
async function main(): Promise<number> {
  try {
    await makeProgram().parseAsync();
    return Number(process.exitCode ?? 0); // of a command that passes on what its child process said
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof Interrupted) {
      process.stderr.write(`${error.message}\n`);
      return INTERRUPTED;
    }
    process.stderr.write(`${failureText(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
