import { parseStrictJson, utf8Text } from '@vouchsafe/protocol';
import { fromBase64, InvalidArgumentError } from '@vouchsafe/sev';
import { z } from 'zod';
import {
  type DigestReference,
  parseReferenceDocument,
  type ReferenceDocument,
  referenceFormat,
} from './document.js';

/** Name of the document that holds what came through Trustee's endpoint. */
export const trusteeDocumentName = 'trustee';

const messageSchema = z.strictObject({
  version: z.literal('0.1.0'),
  type: z.string(),
  payload: z.string().max(1_000_000),
});

const year = 31_536_000_000;

/**
 * The next version of the document of values that administrators register through Trustee's endpoint, for the broker to
 * sign with its own key. Values hold for a year, as in Trustee, and end then. Launch digests become measurements, too.
 * @param message what RVPS takes: `{version, type, payload}` with base64 of `{name: value or [values]}`
 * @param previous the document that this one replaces
 * @throws InvalidArgumentError for another type of message than `sample`
 * @throws MalformedError for a payload that is not strict JSON in UTF-8
 */
export function nextTrusteeDocument(
  message: unknown,
  previous: ReferenceDocument | undefined,
  { issuer, now }: { readonly issuer: string; readonly now: number },
): ReferenceDocument {
  const parsed = messageSchema.safeParse(message);
  if (!parsed.success)
    throw new InvalidArgumentError('reference value', 'expected {"version":"0.1.0","type","payload"}');
  const { type, payload } = parsed.data;
  if (type !== 'sample') {
    throw new InvalidArgumentError('reference value', `messages of type ${type} are not understood`, {
      hint: 'send the values as type sample, or publish signed reference values: `vouchsafe broker reference`',
    });
  }
  const given = parseStrictJson(
    'reference values',
    utf8Text('reference values', fromBase64(payload, 'payload')),
  );
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new InvalidArgumentError(
      'reference value',
      'expected an object of names and values in the payload',
    );
  const values: Record<string, unknown> = { ...previous?.values, ...given };
  const measurements = digestsOf(values['snp_launch_measurement']);
  return parseReferenceDocument({
    format: referenceFormat,
    issuer,
    name: trusteeDocumentName,
    version: (previous?.version ?? 0) + 1,
    notBefore: new Date(now).toISOString(),
    notAfter: new Date(now + year).toISOString(),
    values,
    ...(measurements.length === 0 ? {} : { measurements }),
  });
}

/** Trustee compares text; what is no digest of SNP fits no guest and is left to the attestation policy. */
function digestsOf(value: unknown): DigestReference[] {
  return [value]
    .flat()
    .filter((each): each is string => typeof each === 'string' && /^(?!0+$)[0-9a-f]{96}$/.test(each))
    .map((each) => ({ value: each }));
}
