import { checkTable } from '@vouchsafe/sev';

/** What a document of reference values must pass before the broker keeps it. */
export const referenceChecks = checkTable({
  'reference.format': {
    title: 'document is a signed one of reference values',
    protects: 'an unsigned document could come from anybody, and a malformed one mean two things',
    hint: 'sign it with `vouchsafe broker reference sign`, and send what that writes, unchanged',
    kind: 'authenticity',
  },
  'reference.issuer': {
    title: 'issuer is one that this broker trusts',
    protects: 'anybody could say which software is good',
    hint: 'give the broker the issuer’s public key, if you trust it',
    kind: 'authenticity',
  },
  'reference.signature': {
    title: 'document is signed with a key of its issuer',
    protects: 'whoever can reach the broker or its database could add a measurement of their own',
    hint: 'sign it with the key whose public half the broker knows',
    kind: 'authenticity',
  },
  'reference.validity': {
    title: 'document’s period is not over',
    protects: 'an image that its issuer no longer vouches for could get secrets',
    hint: 'publish a new version with a later notAfter',
    kind: 'authenticity',
  },
  'reference.version': {
    title: 'version is higher than every earlier one',
    protects: 'a document that was replaced could come back, with images that are known to be broken',
    hint: 'publish it anew with a higher version',
    kind: 'authenticity',
  },
});
export type ReferenceCheck = keyof typeof referenceChecks;
