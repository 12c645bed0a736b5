/** The options of `headfirst train` that come from --config and --set. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { camelCaseKeys } from '../core/names.js';
import { fail } from '../errors.js';
import type { PeftConfig } from '../model/adapters/adapters.js';

/** Where options come from; --set goes over --config. */
interface Sources {
  readonly config?: string;
  readonly set?: readonly string[];
  readonly out?: string;
}

export type Config = Readonly<Record<string, unknown>>;

/** What the model, the directory and the trainer are told. */
export interface Settings {
  readonly peftConfig?: PeftConfig | undefined;
  readonly bf16: boolean;
  readonly out: string;
  readonly trainer: Config;
}

/** @throws ERR_IO, ERR_INVALID_ARG naming the file or the option. */
export function settingsOf(options: Sources): Settings {
  const config = camelCaseKeys({
    ...(options.config ? readConfig(options.config) : {}),
    ...Object.fromEntries((options.set ?? []).map(setting)),
  }) as Config;
  const { peftConfig, bf16 = false, outputDir, ...trainer } = config;
  const refuse = (name: string, value: unknown, what: string) =>
    fail('ERR_INVALID_ARG', `train: ${name} must be ${what}, got ${JSON.stringify(value)}`);
  if (typeof bf16 !== 'boolean') refuse('bf16', bf16, 'true or false');
  if (peftConfig !== undefined && !isObject(peftConfig))
    refuse('peftConfig', peftConfig, 'an object like {"r": 8, "lora_alpha": 16}');
  if (outputDir !== undefined && (typeof outputDir !== 'string' || outputDir === ''))
    refuse('outputDir', outputDir, 'a directory');
  if (options.out !== undefined && outputDir !== undefined && options.out !== outputDir)
    fail(
      'ERR_INVALID_ARG',
      `train: --out ${options.out} and outputDir ${String(outputDir)} disagree; give one of them`,
    );
  return {
    peftConfig: peftConfig as PeftConfig | undefined,
    bf16: bf16 as boolean,
    out: options.out ?? (outputDir as string | undefined) ?? join('runs', 'train'),
    trainer,
  };
}

const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function readConfig(file: string): Config {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    fail('ERR_IO', `train: --config ${file} could not be read: ${(error as Error).message}`, error);
  }
  if (!isObject(parsed)) fail('ERR_INVALID_ARG', `train: --config ${file} must hold one object of options`);
  return parsed as Config;
}

/** `key=value`, the value as JSON where it is JSON and as text where it is not. */
function setting(text: string): [string, unknown] {
  const at = text.indexOf('=');
  if (at <= 0) fail('ERR_INVALID_ARG', `train: --set must be key=value, got '${text}'`);
  const name = text.slice(0, at);
  const value = text.slice(at + 1);
  try {
    return [name, JSON.parse(value)];
  } catch {
    return [name, value];
  }
}
