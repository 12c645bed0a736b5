/** A reward for thinking before answering. */
import type { RewardFunc } from '../interfaces.js';
import { named } from './named.js';
import { regexReward } from './regex.js';

/**
 * 1 when the text is one `<think>…</think>` block at its beginning, and whatever follows (TRL's
 * think_format_reward). Other formats: regexReward.
 */
export const thinkFormatReward = (): RewardFunc =>
  named('think_format', regexReward(/^<think>(?!.*<think>).*?<\/think>/s));
