/** The post-processors of tokenizer.json: the special tokens around those of a text. */
import { type Component, component, isComponent, listOf, unsupported } from './read.js';

export type PostProcessor = (ids: readonly number[]) => readonly number[];

const unchanged: PostProcessor = (ids) => ids;

/** @throws UnsupportedComponent. */
export function createPostProcessor(config: unknown): PostProcessor {
  if (config === null || config === undefined) return unchanged;
  const of = `the post_processor ${(config as Component)['type']}`;
  const read = component(config, of);
  switch (read['type']) {
    case 'ByteLevel':
      return unchanged;
    case 'TemplateProcessing':
      return template(read, of);
    case 'RobertaProcessing':
    case 'BertProcessing':
      return surrounded(idIn(read['cls'], of), idIn(read['sep'], of));
    case 'Sequence': {
      const steps = listOf(read, 'processors', of).map((each) => createPostProcessor(each));
      return (ids) => steps.reduce((current, step) => step(current), ids);
    }
    default:
      return unsupported(of);
  }
}

const surrounded =
  (first: number, last: number): PostProcessor =>
  (ids) => [first, ...ids, last];

/** Of a pair of token and id. */
function idIn(pair: unknown, of: string): number {
  const id: unknown = Array.isArray(pair) ? pair[1] : undefined;
  return typeof id === 'number' ? id : unsupported(`${of} without a token and its id`);
}

function template(config: Component, of: string): PostProcessor {
  const specials = component(config['special_tokens'], `${of}: special_tokens`);
  const idsOf = (name: string): readonly number[] => {
    const special = specials[name];
    return isComponent(special) ? (listOf(special, 'ids', of) as number[]) : unsupported(`${of}: no ${name}`);
  };
  /** undefined: the text's own tokens. */
  const parts = listOf(config, 'single', of).map((each) => {
    const part = component(each, of);
    const special = part['SpecialToken'];
    return isComponent(special) ? idsOf(String(special['id'])) : undefined;
  });
  return (ids) => parts.flatMap((part) => part ?? ids);
}
