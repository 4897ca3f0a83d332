import {
  type ApiVersion,
  buildSevCertificate,
  type KeyAlgorithm,
  type P384PrivateKey,
  type RandomSource,
  signSevCertificate,
} from '@vouchsafe/sev';
import { drawP384Key } from './keys.js';
import type { PlatformIdentity } from './persistent-store.js';

/** What the platform's keys are made with. */
export interface KeyMaker {
  readonly api: ApiVersion;
  readonly random: RandomSource;
  /** The chip endorsement key. */
  readonly cek: P384PrivateKey;
}

interface CertifiedKey {
  readonly certificate: Uint8Array;
  readonly key: P384PrivateKey;
}

const signing: KeyAlgorithm = 'ECDSA-SHA256';

/** A self-owned platform: new OCA, PEK and PDH. */
export async function makeSelfOwnedIdentity(maker: KeyMaker): Promise<PlatformIdentity> {
  const oca = await makeOca(maker);
  const pek = await makePek(maker, oca.key);
  const pdh = await makePdh(maker, pek.key);
  return { externallyOwned: false, oca, pek, pdh };
}

/** A PDH signed by the PEK. */
export async function makePdh(maker: KeyMaker, pek: P384PrivateKey): Promise<CertifiedKey> {
  const key = drawP384Key(maker.random);
  const certificate = buildSevCertificate({
    ...maker.api,
    usage: 'PDH',
    algorithm: 'ECDH-SHA256',
    publicKey: key.publicKey,
  });
  return {
    key,
    certificate: await signSevCertificate(certificate, { usage: 'PEK', algorithm: signing, key: pek }),
  };
}

/** Adds the CEK's signature in the free slot of a PEK that its owner has signed. */
export function endorsePek(maker: KeyMaker, certificate: Uint8Array): Promise<Uint8Array> {
  return signSevCertificate(certificate, { usage: 'CEK', algorithm: signing, key: maker.cek });
}

async function makeOca(maker: KeyMaker): Promise<CertifiedKey> {
  const key = drawP384Key(maker.random);
  const certificate = buildSevCertificate({
    ...maker.api,
    usage: 'OCA',
    algorithm: signing,
    publicKey: key.publicKey,
  });
  return {
    key,
    certificate: await signSevCertificate(certificate, { usage: 'OCA', algorithm: signing, key }),
  };
}

/** Real platforms have the OCA's signature in the first slot and the CEK's in the second. */
async function makePek(maker: KeyMaker, oca: P384PrivateKey): Promise<CertifiedKey> {
  const key = drawP384Key(maker.random);
  const unsigned = buildSevCertificate({
    ...maker.api,
    usage: 'PEK',
    algorithm: signing,
    publicKey: key.publicKey,
  });
  const owned = await signSevCertificate(unsigned, { usage: 'OCA', algorithm: signing, key: oca });
  return { key, certificate: await endorsePek(maker, owned) };
}
