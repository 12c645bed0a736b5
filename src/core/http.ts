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

/** A failed request in words; fetch() hides what went wrong in the cause. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

/**
 * Would another try help? An answer 4xx says that the request is wrong, but for a timeout and a full server.
 */
const isFinal = ({ status }: Response): boolean => status < 500 && status !== 408 && status !== 429;

interface Tools {
  readonly pRetry: typeof import('p-retry');
  readonly limit: import('p-limit').LimitFunction;
}

async function loadTools(concurrency: number): Promise<Tools> {
  const [pRetry, { default: pLimit }] = await Promise.all([import('p-retry'), import('p-limit')]);
  return { pRetry, limit: pLimit(concurrency) };
}

/** `caller` and `code` name the errors that come after the last try. */
export function createHttpClient(caller: string, code: ErrorCode, options: HttpOptions = {}): HttpClient {
  const { headers = {}, timeoutMs = 60_000, retries = 4, retryDelayMs = 500, concurrency = 8 } = options;
  // Loaded when first used: only runs with a server need them.
  let tools: Promise<Tools> | undefined;

  /** One try. */
  async function request<T>(
    { pRetry: { AbortError } }: Tools,
    url: string,
    body: string,
    read: (answer: unknown) => T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
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
        throw isFinal(response) ? new AbortError(error) : error;
      }
      return read(JSON.parse(text));
    } catch (error) {
      if (clock.aborted && !signal?.aborted) throw new Error(`did not answer within ${timeoutMs} ms`);
      // p-retry takes a TypeError for a mistake in the program; fetch throws one when a server is not there.
      throw error instanceof TypeError ? new Error(messageOf(error)) : error;
    }
  }

  /** All tries. */
  async function persist<T>(
    loaded: Tools,
    url: string,
    body: string,
    read: (answer: unknown) => T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    let tries = 0;
    const once = () => {
      tries += 1;
      return request(loaded, url, body, read, signal);
    };
    const patience = { retries, minTimeout: retryDelayMs, randomize: true, ...(signal ? { signal } : {}) };
    try {
      return await loaded.pRetry.default(once, patience);
    } catch (error) {
      signal?.throwIfAborted();
      const count = tries > 1 ? `, ${tries} times` : '';
      throw codedError(
        code,
        `${caller}: ${url} ${messageOf(error)}${count}; check the server, or raise timeoutMs or retries`,
        error,
      );
    }
  }

  return {
    async post(url, body, read, signal) {
      tools ??= loadTools(concurrency);
      const loaded = await tools;
      return loaded.limit(() => persist(loaded, url, JSON.stringify(body), read, signal));
    },
  };
}
