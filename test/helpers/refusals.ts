/** Tables of mistakes: what is given, what is said, and the call. */
import { expect, it } from 'vitest';

export type Refusal = readonly [given: string, expected: string, call: () => unknown];

/** Values are loosely typed: that is what the rows are about. */
export const any = (value: unknown) => value as never;

/** One test per row: the call fails with ERR_INVALID_ARG and says what is expected. */
export function itRefuses(refusals: readonly Refusal[]): void {
  it.each(refusals)('%s', async (_, expected, call) => {
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (thrown: unknown) => thrown as { code?: string; message: string },
      );
    expect(error?.message ?? 'accepted').toContain(expected);
    expect(error?.code).toBe('ERR_INVALID_ARG');
  });
}

/** A small GPT with random weights. */
export const SMALL_GPT = {
  model_type: 'gpt',
  vocab_size: 11,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 12,
};
