import { MalformedError } from '@vouchsafe/sev';

/**
 * The text that bytes are in UTF-8. A byte order mark stays: JSON does not begin with one.
 * @param name of the document, for errors
 * @throws MalformedError for other bytes; it does not repeat them
 */
export function utf8Text(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new MalformedError({
      structure: name,
      field: '/',
      offset: 0,
      expected: 'text in UTF-8',
      found: 'other bytes',
    });
  }
}
