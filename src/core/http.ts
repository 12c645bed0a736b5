/**
 * JSON over HTTP to a server that may be slow, busy or broken: so many requests at once, each timed out and
 * tried again.
 */
import { codedError, type ErrorCode } from '../errors.js';
import { count, natural, object, type Rules } from './check.js';

/** How often and how patiently a server is asked. Times in milliseconds. */
export interface HttpOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** For one try of one request. Default 60,000. */
  readonly timeoutMs?: number;
  /** Tries after the first, with doubling pauses. Default 4. */
  readonly retries?: number;
  /** The first pause. Default 500. */
  readonly retryDelayMs?: number;
  /** Requests under way at a time. Default 8. */
  readonly concurrency?: number;
}

/** For the options of callers that hand them on. */
export const HTTP: Rules = {
  headers: object,
  timeoutMs: count,
  retries: natural,
  retryDelayMs: natural,
  concurrency: count,
};

export interface HttpClient {
  /**
   * `read` takes the answer apart and throws when it is not what it should be; that is tried again too, as is
   * everything but an answer 4xx (408 and 429 aside), which no second try would change.
   */
  post<T>(url: string, body: unknown, read: (answer: unknown) => T, signal?: AbortSignal): Promise<T>;
}

const message = (error: unknown) =>
  error instanceof Error
    ? `${error.message}${error.cause instanceof Error ? ` (${error.cause.message})` : ''}`
    : String(error);

/** @param caller and @param code name the errors that come after the last try. */
export function createHttpClient(caller: string, code: ErrorCode, options: HttpOptions = {}): HttpClient {
  const { headers = {}, timeoutMs = 60_000, retries = 4, retryDelayMs = 500, concurrency = 8 } = options;
  // Loaded when first used: only runs with a server need them.
  let tools:
    | Promise<{ pRetry: typeof import('p-retry'); limit: import('p-limit').LimitFunction }>
    | undefined;
  const load = () =>
    (tools ??= Promise.all([import('p-retry'), import('p-limit')]).then(([pRetry, { default: pLimit }]) => ({
      pRetry,
      limit: pLimit(concurrency),
    })));

  async function once<T>(
    url: string,
    body: string,
    read: (answer: unknown) => T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const {
      pRetry: { AbortError },
    } = await load();
    const clock = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
        signal: signal ? AbortSignal.any([signal, clock]) : clock,
      });
      const text = await response.text();
      if (!response.ok) {
        const error = new Error(`answered ${response.status} ${response.statusText}: ${text.slice(0, 200)}`);
        throw response.status < 500 && response.status !== 408 && response.status !== 429
          ? new AbortError(error)
          : error;
      }
      return read(JSON.parse(text));
    } catch (error) {
      if (clock.aborted && !signal?.aborted) throw new Error(`did not answer within ${timeoutMs} ms`);
      // p-retry takes a TypeError for a mistake in the program; fetch throws one when a server is not there.
      throw error instanceof TypeError ? new Error(message(error)) : error;
    }
  }

  return {
    post: async (url, body, read, signal) =>
      (await load()).limit(async () => {
        const {
          pRetry: { default: pRetry },
        } = await load();
        const text = JSON.stringify(body);
        let tries = 0;
        try {
          return await pRetry(() => (++tries, once(url, text, read, signal)), {
            retries,
            minTimeout: retryDelayMs,
            randomize: true,
            ...(signal ? { signal } : {}),
          });
        } catch (error) {
          signal?.throwIfAborted();
          throw codedError(
            code,
            `${caller}: ${url} ${message(error)}${tries > 1 ? `, ${tries} times` : ''}; check the server, or raise timeoutMs or retries`,
            error,
          );
        }
      }),
  };
}
