/** The models of tokenizer.json: from a piece of text to token ids. */
import { createBPE } from './bpe.js';
import { type Component, component, countOf, textOf, unsupported } from './read.js';
import { createUnigram } from './unigram.js';
import { type TokenModel, tokensOf, vocabularyOf } from './vocabulary.js';

/** @throws UnsupportedComponent. */
export function createModel(config: unknown): TokenModel {
  const read = component(config, 'the model');
  switch (read['type'] ?? legacyType(read)) {
    case 'BPE':
      return createBPE(read);
    case 'Unigram':
      return createUnigram(read);
    case 'WordPiece':
      return createWordPiece(read);
    case 'WordLevel':
      return createWordLevel(read);
    default:
      return unsupported(`the model ${String(read['type'])}`);
  }
}

/** Files from before models had a type. */
function legacyType(config: Component): string | undefined {
  if ('merges' in config) return 'BPE';
  if ('max_input_chars_per_word' in config) return 'WordPiece';
  return Array.isArray(config['vocab']) ? 'Unigram' : undefined;
}

/** The id that stands for what is unknown. */
function unknownOf(vocabulary: ReadonlyMap<string, number>, unknown: string, piece: string): number {
  return (
    vocabulary.get(unknown) ??
    unsupported(`text with '${piece}': the model does not know it, nor has it the unknown token ${unknown}`)
  );
}

function createWordPiece(config: Component): TokenModel {
  const of = 'the model WordPiece';
  const vocabulary = vocabularyOf(config, of);
  const token = tokensOf(vocabulary);
  const unknown = textOf(config, 'unk_token', of, '[UNK]');
  const prefix = textOf(config, 'continuing_subword_prefix', of, '##');
  const longest = countOf(config, 'max_input_chars_per_word', of, 100);

  /** The longest token that the rest of a piece begins with: its id and where it ends. */
  function longestToken(characters: readonly string[], begin: number): [number, number] | undefined {
    for (let end = characters.length; end > begin; --end) {
      const text = characters.slice(begin, end).join('');
      const id = vocabulary.get(begin > 0 ? prefix + text : text);
      if (id !== undefined) return [id, end];
    }
    return undefined;
  }
  return {
    vocabulary,
    token,
    tokenize(piece) {
      const characters = [...piece];
      const ids: number[] = [];
      if (characters.length > longest) return [unknownOf(vocabulary, unknown, piece)];
      for (let begin = 0; begin < characters.length; ) {
        const found = longestToken(characters, begin);
        if (!found) return [unknownOf(vocabulary, unknown, piece)];
        ids.push(found[0]);
        begin = found[1];
      }
      return ids;
    },
  };
}

function createWordLevel(config: Component): TokenModel {
  const of = 'the model WordLevel';
  const vocabulary = vocabularyOf(config, of);
  const token = tokensOf(vocabulary);
  const unknown = textOf(config, 'unk_token', of, '<unk>');
  return {
    vocabulary,
    token,
    tokenize: (piece) => [vocabulary.get(piece) ?? unknownOf(vocabulary, unknown, piece)],
  };
}
