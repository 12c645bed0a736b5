/** Asserting that a call is refused, and in which words. */
import { expect } from 'vitest';

/** Rejects with this code, and the message holds every one of these parts. */
export async function refused(work: Promise<unknown>, code: string, ...parts: string[]): Promise<void> {
  const error = (await work.then(
    () => undefined,
    (e: unknown) => e,
  )) as (Error & { code?: string }) | undefined;
  expect(error, 'should have been refused').toBeInstanceOf(Error);
  expect(error!.code, error!.message).toBe(code);
  for (const part of parts) expect(error!.message).toContain(part);
}
