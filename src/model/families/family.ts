/** What a family of models is: data and three small functions, one file each in this folder. */
import type { ModelSpec, ParameterSpec } from '../../core/addon/contract.js';

/** A Hugging Face config.json, keys as they stand in the file. */
export type HfConfig = Readonly<Record<string, unknown>>;

/** How the config and the tensor names of one Hugging Face model_type map to the engine's description. */
export interface Family {
  /** The model_type of config.json. */
  readonly modelType: string;
  /** The class in transformers, for config.json's `architectures`. */
  readonly architecture?: string;
  /**
   * What the tensor names of the headless model lack. Example: 'transformer.' in GPT-2, whose published
   * checkpoint begins with 'wte.weight'.
   */
  readonly basePrefix?: string;
  /** The classifier's module in files, where it is not 'lm_head' as in transformers' memory. */
  readonly classifierInFiles?: string;
  /** Modules that LoRA adapts unless told otherwise: peft's choice for the family. */
  readonly loraTargets: readonly string[];
  /**
   * The config with defaults filled in.
   * @throws ERR_UNSUPPORTED, naming the key, for a value that the engine does not implement.
   */
  complete(config: HfConfig): HfConfig;
  /** The engine's description of a complete config: sizes, kinds, and the list of parameters. */
  spec(config: HfConfig): ModelSpec;
  /** Standard deviation of a fresh weight. Gains are 1 and biases 0 whatever it says. */
  initialStd(parameter: ParameterSpec, config: HfConfig): number;
}
