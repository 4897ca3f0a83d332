import { utf8Text } from '@vouchsafe/protocol';

/** A body as text. @throws MalformedError for bytes that are not UTF-8 */
export const textOf = (body: unknown): string => utf8Text('body', bytesOf(body));

export const bytesOf = (body: unknown): Uint8Array => (body instanceof Uint8Array ? body : new Uint8Array());
