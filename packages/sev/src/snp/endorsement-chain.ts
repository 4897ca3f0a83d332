import type { X509Certificate } from '../x509/certificate.js';
import { sameName } from '../x509/name.js';
import { isSignedWith } from '../x509/signature-algorithm.js';

/** The certificates above a VEK, as far as they were given. `ask` stands for an ASVK, too. */
export interface EndorsementChain {
  readonly vek: X509Certificate;
  readonly ask?: X509Certificate;
  readonly ark?: X509Certificate;
}

/**
 * Finds the chain of a VEK among certificates in any order: those whose names fit, and among several of one name the one
 * that signed. Where no name fits it takes what could be meant, so that checks can say what is wrong with it. What is
 * not part of the chain is left out: bundles may hold more. Nothing is verified here.
 */
export async function findEndorsementChain(
  vek: X509Certificate,
  certificates: readonly X509Certificate[],
): Promise<EndorsementChain> {
  const authorities = certificates.filter((each) => 'modulus' in each.publicKey);
  const ask = await signerOf(
    vek,
    authorities.filter((each) => !isSelfIssued(each)),
  );
  const ark = await signerOf(ask ?? vek, authorities.filter(isSelfIssued));
  return { vek, ...(ask === undefined ? {} : { ask }), ...(ark === undefined ? {} : { ark }) };
}

async function signerOf(
  child: X509Certificate,
  candidates: readonly X509Certificate[],
): Promise<X509Certificate | undefined> {
  const named = candidates.filter(({ subject }) => sameName(subject.attributes, child.issuer.attributes));
  const [first = candidates[0]] = named;
  if (named.length < 2) return first;
  for (const candidate of named.slice(0, maximumCandidates)) {
    const { publicKey } = candidate;
    if ('modulus' in publicKey && (await isSignedWith(child, publicKey))) return candidate;
  }
  return first;
}

/** Each costs a signature's verification. */
const maximumCandidates = 8;

function isSelfIssued({ issuer, subject }: X509Certificate): boolean {
  return sameName(issuer.attributes, subject.attributes);
}
