/**
 * The files of a model directory beside config and weights: tokenizer, chat template, generation defaults.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { io, readIfPresent } from '../core/files.js';
import { parseJson } from '../core/text.js';
import { fail } from '../errors.js';
import type { HfConfig } from './families/family.js';
import { createTokenizer, type Tokenizer } from './tokenizer/tokenizer.js';

/** What a directory holds beside config and weights. */
export interface Companions {
  readonly tokenizer?: Tokenizer;
  /** generation_config.json, {} when there is none. */
  readonly generationConfig: HfConfig;
  /** Files that savePretrained() writes again byte for byte, by their paths in the directory. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /**
   * What the weights were stored as where the model was loaded from: what savePretrained() stores unless
   * told.
   */
  readonly storedDtype?: string;
}

/** Carried over from where a model was loaded to where it is saved. */
export const COMPANION_FILES = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'chat_template.json',
];

/** A folder of further chat templates, by their names, as transformers writes it. */
export const TEMPLATE_FOLDER = 'additional_chat_templates';

/** @throws ERR_UNSUPPORTED for a model without tokenizer.json. */
export const tokenizerOf = ({ tokenizer }: Companions): Tokenizer =>
  tokenizer ??
  fail(
    'ERR_UNSUPPORTED',
    'model.tokenizer: this model was loaded without a tokenizer.json; ' +
      'use token ids, or add tokenizer.json to its directory',
  );

/** Reads what a directory with this config.json has of them. @throws ERR_IO for a JSON file that is none. */
export async function readCompanions(
  caller: string,
  directory: string,
  config: HfConfig,
): Promise<Companions> {
  const files = new Map<string, Uint8Array>();
  for (const name of COMPANION_FILES) {
    const bytes = await readIfPresent(caller, join(directory, name));
    if (bytes) files.set(name, bytes);
  }
  for (const name of await templateNames(caller, directory)) {
    const path = `${TEMPLATE_FOLDER}/${name}`;
    files.set(path, await io(caller, 'read', join(directory, path), () => readFile(join(directory, path))));
  }
  const json = (name: string) => {
    const bytes = files.get(name);
    return bytes && parseJson(caller, join(directory, name), bytes);
  };
  const tokenizerJson = json('tokenizer.json');
  const chatTemplate = chatTemplateOf(files, json);
  const tokenizer =
    tokenizerJson &&
    createTokenizer(
      join(directory, 'tokenizer.json'),
      tokenizerJson,
      json('tokenizer_config.json') ?? {},
      chatTemplate,
      {
        specialTokensMap: json('special_tokens_map.json'),
        addedTokensJson: json('added_tokens.json'),
        modelType: config['model_type'] as string | undefined,
        tokenizerClass: config['tokenizer_class'],
      },
    );
  const generationConfig = json('generation_config.json') ?? {};
  return { ...(tokenizer ? { tokenizer } : {}), generationConfig, files };
}

/** Names in the folder of further chat templates; [] when there is none. */
async function templateNames(caller: string, directory: string): Promise<string[]> {
  const folder = join(directory, TEMPLATE_FOLDER);
  const names = await io(caller, 'read', folder, () =>
    readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
      throw error;
    }),
  );
  return names.filter((name) => name.endsWith('.jinja')).sort();
}

/** The chat template where it has a file of its own, either as text or in a JSON object. */
function chatTemplateOf(
  files: ReadonlyMap<string, Uint8Array>,
  json: (name: string) => HfConfig | undefined,
): string | undefined {
  const jinja = files.get('chat_template.jinja');
  if (jinja) return Buffer.from(jinja).toString('utf8');
  return json('chat_template.json')?.['chat_template'] as string | undefined;
}
