/** Numbers of JSON that JavaScript's numbers cannot hold, where Python's can. */

/** A number whose digits would be lost, and the keys that lead to it. */
export interface LostNumber {
  readonly literal: string;
  readonly key: string;
}

/** Without one of these a text has no such number. */
const SUSPICIOUS = /\d{16}|\d[eE]/;
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[{}[\],:]/g;

const isLost = (literal: string): boolean => {
  const value = Number(literal);
  return /[.eE]/.test(literal) ? !Number.isFinite(value) : !Number.isSafeInteger(value);
};

/** The first integer beyond ±(2⁵³ − 1), or number beyond ±1.8·10³⁰⁸, of a text that is JSON. */
export function lostNumber(json: string): LostNumber | undefined {
  if (!SUSPICIOUS.test(json)) return undefined;
  const path: (string | number)[] = [];
  let last = '';
  for (const [token] of json.matchAll(TOKEN)) {
    switch (token) {
      case '{':
        path.push('');
        break;
      case '[':
        path.push(0);
        break;
      case '}':
      case ']':
        path.pop();
        break;
      case ',': {
        const place = path.at(-1);
        if (typeof place === 'number') path[path.length - 1] = place + 1;
        break;
      }
      case ':':
        path[path.length - 1] = JSON.parse(last) as string;
        break;
      default:
        if (!token.startsWith('"') && isLost(token)) return { literal: token, key: path.join('.') };
    }
    last = token;
  }
  return undefined;
}
