/** A local HTTP server whose answers a test scripts. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

export interface Answer {
  readonly status?: number;
  /** JSON, or text as it is. */
  readonly body?: unknown;
  readonly delayMs?: number;
  /** Close the connection without a word. */
  readonly hangUp?: boolean;
}

const servers: Server[] = [];
afterAll(() => servers.forEach(end));

function end(server: Server): void {
  server.closeAllConnections();
  server.close();
}

/** `answer` is called with the request's JSON, its path and its number from 0. */
export async function serve(
  answer: (body: any, path: string, index: number) => Answer | Promise<Answer>,
): Promise<{ url: string; requests: { path: string; body: any }[]; most: () => number; close: () => void }> {
  const requests: { path: string; body: any }[] = [];
  let open = 0;
  let most = 0;
  const server = createServer((request, response) => {
    open += 1;
    most = Math.max(most, open);
    response.on('close', () => {
      open -= 1;
    });
    const chunks: Buffer[] = [];
    request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', async () => {
        const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
        const path = request.url!;
        const index = requests.push({ path, body }) - 1;
        const { status = 200, body: out, delayMs = 0, hangUp } = await answer(body, path, index);
        const text = typeof out === 'string' ? out : JSON.stringify(out ?? null);
        setTimeout(() => {
          if (hangUp) request.socket.destroy();
          else response.writeHead(status, { 'content-type': 'application/json' }).end(text);
        }, delayMs);
      });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    most: () => most,
    close: () => end(server),
  };
}
