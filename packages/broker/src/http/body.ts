import { MalformedError } from '@vouchsafe/sev';

/** A body as text. @throws MalformedError for bytes that are not UTF-8 */
export function textOf(body: unknown): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesOf(body));
  } catch {
    throw new MalformedError({
      structure: 'body',
      field: '/',
      offset: 0,
      expected: 'text in UTF-8',
      found: 'other bytes',
    });
  }
}

export const bytesOf = (body: unknown): Uint8Array => (body instanceof Uint8Array ? body : new Uint8Array());
