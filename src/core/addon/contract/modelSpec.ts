/**
 * A model as data, and token sequences as models take them.
 * Part of the contract of the .node file (../contract.ts).
 */
/**
 * What a parameter is to the engine. Presence decides: a model whose list has 'qkv_bias' has that bias, one
 * without 'classifier' is tied (the embedding is the classifier), one without 'mlp_gate' has a plain MLP.
 */
export type ParameterRole =
  | 'embedding'
  | 'position'
  | 'attention_norm'
  | 'attention_norm_bias'
  | 'q'
  | 'q_bias'
  | 'k'
  | 'k_bias'
  | 'v'
  | 'v_bias'
  | 'qkv'
  | 'qkv_bias'
  | 'q_norm'
  | 'k_norm'
  | 'attention_out'
  | 'attention_out_bias'
  | 'mlp_norm'
  | 'mlp_norm_bias'
  | 'mlp_gate'
  | 'mlp_gate_bias'
  | 'mlp_up'
  | 'mlp_up_bias'
  | 'mlp_down'
  | 'mlp_down_bias'
  | 'final_norm'
  | 'final_norm_bias'
  | 'classifier'
  | 'lora_A'
  | 'lora_B';

export interface ParameterSpec {
  /** The checkpoint's own name, e.g. 'model.layers.0.self_attn.q_proj.weight'. */
  readonly name: string;
  readonly role: ParameterRole;
  /** −1 outside the layers. */
  readonly layer: number;
  /** The checkpoint's own shape: [out, in] for linear weights, [in, out] when `transposedLinears`. */
  readonly shape: readonly number[];
  /** lora_A [r, in] and lora_B [out, r]: index of the linear weight that they adapt. */
  readonly target?: number;
  /** Beside adapters: it trains in full and is saved with them. Of no meaning to the engine. */
  readonly savedWithAdapter?: boolean;
}

/** A decoder-only transformer, described as data (families/*.ts make it from a Hugging Face config). */
export interface ModelSpec {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly mlpSize: number;
  readonly maxPositions: number;
  readonly norm: 'layer' | 'rms';
  readonly normEps: number;
  readonly activation: 'gelu' | 'gelu_new' | 'silu_gate' | 'relu';
  /**
   * Absent: learned positions (role 'position'). invFreq may be shorter than headDim / 2 (partial rotary).
   */
  readonly rotary?: { readonly invFreq: Float64Array; readonly scale: number };
  /** x + attention(norm1 x) + mlp(norm2 x) rather than one after the other (GPT-NeoX). */
  readonly parallelResidual: boolean;
  /**
   * How a fused 'qkv' output lies: 'blocks' = all q, all k, all v (GPT-2); 'heads' = q, k, v head by head
   * (GPT-NeoX).
   */
  readonly fusedQkv?: 'blocks' | 'heads';
  /** Linear weights are stored [in, out] (GPT-2's Conv1D). */
  readonly transposedLinears: boolean;
  readonly attentionScale: number;
  /** Matrix products read weights rounded to bfloat16, kept beside the float32 originals. */
  readonly bfloat16?: boolean;
  /** y += loraScale · B A x, for every adapter. */
  readonly loraScale?: number;
  /** In storage order: the flat parameter vector that (n, P) results use. */
  readonly parameters: readonly ParameterSpec[];
}

/** Packed sequences: all ids one after the other; sequence s owns offsets[s] … offsets[s + 1] − 1. */
export interface PackedSequences {
  readonly ids: Int32Array;
  readonly offsets: Int32Array;
}

/** … and the scored positions: rows[i] is the packed row whose next token targets[i] is. */
export interface PackedSamples extends PackedSequences {
  readonly rows: Int32Array;
  readonly targets: Int32Array;
  /** Scored rows of sequence s: rowOffsets[s] … rowOffsets[s + 1] − 1. */
  readonly rowOffsets: Int32Array;
}
