/**
 * A reward for story models: how many different kinds of friendship word a story has, three or more counting
 * as 1. Takes what every reward function takes (one entry per completion in each array) and returns one
 * number per completion.
 */
const KINDS = [
  /\bfriend(s|ly|ship)?\b/i,
  /\btogether\b/i,
  /\bshar(e|ed|ing)\b/i,
  /\bhelp(s|ed|ing|ful)?\b/i,
  /\bhug(s|ged|ging)?\b/i,
  /\bkind(ness)?\b/i,
  /\blov(e|es|ed)\b/i,
  /\bthank(s|ed)?\b/i,
];

export function reward({ completions }) {
  return completions.map((story) => Math.min(1, KINDS.filter((kind) => kind.test(story)).length / 3));
}
