import { UnavailableError } from '@vouchsafe/sev';

/** What commands print with `--json`: an answer, or `{ error }`. */

interface Failure {
  readonly error: { readonly message?: unknown; readonly hint?: unknown };
}

/** @returns undefined for text that is no document, or not all of one yet */
export function documentIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const isFailure = (document: unknown): document is Failure =>
  typeof document === 'object' && document !== null && 'error' in document;

/** Why a command failed, in its own words; undefined for an answer. */
export function messageIn(document: unknown): string | undefined {
  return isFailure(document) ? String(document.error.message) : undefined;
}

export function failureOf(name: string, document: unknown): UnavailableError {
  const { message = 'it ended by itself', hint } = isFailure(document) ? document.error : {};
  const options = typeof hint === 'string' ? { hint } : {};
  return new UnavailableError(name, String(message), options);
}
