/** tokenizer.json through @huggingface/tokenizers. */

export interface Tokenizer {
  /** Adds BOS and the like as the tokenizer's post-processor says, unless told not to. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Special tokens are left out. */
  decode(ids: readonly number[]): string;
  readonly vocabSize: number;
}
