import { exportJWK, generateKeyPair, type JWK } from 'jose';
import {
  parseReferenceDocument,
  type ReferenceDocument,
  referenceFormat,
} from '../reference-values/document.js';
import type { ReferenceValueRepository, StoredReference } from '../reference-values/repository.js';
import { hex } from './questions.js';

/** A document that knows the guest of `someClaims`, for all of November 2026. */
export function someDocument(changes: Partial<ReferenceDocument> = {}): ReferenceDocument {
  return parseReferenceDocument({
    format: referenceFormat,
    issuer: 'releases@example.org',
    name: 'web',
    version: 7,
    notBefore: '2026-11-01T00:00:00Z',
    notAfter: '2026-12-01T00:00:00Z',
    measurements: [{ value: hex(48, 'a'), label: 'web server 12' }],
    ...changes,
  });
}

/** A private JWK of an issuer. */
export async function issuerKey(algorithm: 'EdDSA' | 'ES256' = 'EdDSA'): Promise<JWK> {
  const options = algorithm === 'EdDSA' ? { crv: 'Ed25519', extractable: true } : { extractable: true };
  const { privateKey } = await generateKeyPair(algorithm, options);
  return exportJWK(privateKey);
}

export function publicPart({ d: _private, ...key }: JWK): JWK {
  return key;
}

/** Keeps documents for as long as the process runs. */
export function memoryReferenceValues(): ReferenceValueRepository {
  const stored: StoredReference[] = [];
  const versionsOf = (issuer: string, name: string) =>
    stored.filter((each) => each.issuer === issuer && each.name === name).map(({ version }) => version);
  return {
    async list() {
      return [...stored];
    },
    async highestVersion(issuer, name) {
      return Math.max(0, ...versionsOf(issuer, name));
    },
    async add(reference) {
      const { issuer, name, version } = reference;
      if (version <= Math.max(0, ...versionsOf(issuer, name))) return false;
      stored.push(reference);
      return true;
    },
  };
}
