import type { DerElement } from './der.js';
import { tags } from './der-tags.js';

const alphabets = new Map<number, RegExp>([
  [tags.utf8String, /^\P{C}*$/u],
  [tags.printableString, /^[A-Za-z0-9 '()+,\-./:=?]*$/],
  [tags.ia5String, /^[\x20-\x7e]*$/],
]);

/**
 * The text of a UTF8String, PrintableString or IA5String, without control and formatting characters: they have no
 * place in names and addresses, and would reach terminals. Undefined for other bytes.
 */
export function derTextOf({ tag, content }: Pick<DerElement, 'tag' | 'content'>): string | undefined {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    return undefined;
  }
  return alphabets.get(tag)?.test(text) === true ? text : undefined;
}
