import {
  type DigestReference,
  issuerOf,
  parseReferenceDocument,
  type ReferenceDocument,
  referenceFormat,
  signReferenceDocument,
  verifyReferenceDocument,
} from '@vouchsafe/broker/documents';
import { parseStrictJson } from '@vouchsafe/protocol';
import { InvalidArgumentError, requireAccepted } from '@vouchsafe/sev';
import { readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import type { ReferenceDigests } from './digests.js';
import type { ReferenceInputs } from './options.js';

type IssuerKey = Parameters<typeof signReferenceDocument>[1];

const day = 24 * 3_600_000;
const year = 365 * day;
const week = 7 * day;

/** A document and the same, signed. */
export interface SignedReference {
  readonly document: ReferenceDocument;
  readonly signed: string;
}

/**
 * The document of these digests, signed. The digests of the document before it are kept beside them, each until the time
 * that was given or its own end, whichever is first: guests that run on the old image go on while they are replaced.
 * @throws RefusedError for an earlier document that this key has not signed; InvalidArgumentError
 */
export async function nextDocument(
  digests: ReferenceDigests,
  input: ReferenceInputs,
  { previous, now, io }: { readonly previous: string | undefined; readonly now: number; readonly io: Io },
): Promise<SignedReference> {
  const key = await readIssuerKey(input.key, io);
  const { issuer, name } = input;
  const before = previous === undefined ? undefined : await verified(previous, input, key, now);
  const notAfter = input.notAfter ?? now + year;
  const until = Math.min(input.keepUntil ?? now + week, notAfter);
  if (before !== undefined && until <= now)
    throw new InvalidArgumentError('--keep-until', 'it is over already');
  const list = (kind: 'measurements' | 'launchDigests') => {
    const kept = (before?.[kind] ?? []).flatMap((each) => endingAt(each, until, now));
    const all = [
      ...digests[kind],
      ...kept.filter(({ value }) => !digests[kind].some((each) => each.value === value)),
    ];
    return all.length === 0 ? {} : { [kind]: all };
  };
  const document = parseReferenceDocument({
    format: referenceFormat,
    issuer,
    name,
    version: input.documentVersion ?? (before?.version ?? 0) + 1,
    notBefore: new Date(now).toISOString(),
    notAfter: new Date(notAfter).toISOString(),
    ...list('measurements'),
    ...list('launchDigests'),
  });
  return { document, signed: await signReferenceDocument(document, key) };
}

async function verified(
  text: string,
  { issuer, name }: ReferenceInputs,
  key: IssuerKey,
  now: number,
): Promise<ReferenceDocument> {
  const { appraisal, document } = await verifyReferenceDocument(text.trim(), [issuerOf(issuer, key)], now);
  requireAccepted(appraisal);
  if (document?.name !== name)
    throw new InvalidArgumentError('--keep', `it is ${document?.name ?? 'nothing'}, not ${name}`);
  return document;
}

/** A digest of before, with its new end; nothing when it has ended. */
function endingAt(
  { value, label, notAfter }: DigestReference,
  until: number,
  now: number,
): DigestReference[] {
  const end = Math.min(until, notAfter === undefined ? until : Date.parse(notAfter));
  if (end <= now) return [];
  return [{ value, ...(label === undefined ? {} : { label }), notAfter: new Date(end).toISOString() }];
}

async function readIssuerKey(file: string, io: Io): Promise<IssuerKey> {
  const content = await readInput(file, 'issuer key', io);
  try {
    const jwk = parseStrictJson('issuer key', new TextDecoder().decode(content));
    if (typeof jwk === 'object' && jwk !== null && !Array.isArray(jwk)) return { ...jwk } as IssuerKey;
    throw new InvalidArgumentError('--key', `${file} holds no private JWK`);
  } finally {
    content.fill(0);
  }
}
