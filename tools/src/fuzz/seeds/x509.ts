import * as sev from '@vouchsafe/sev';
import { SeededRandom } from '../mutate.js';

const noon = Date.UTC(2026, 2, 1, 12);

/** Certificates and lists in form only: nobody's keys, nobody's signatures. The same random bytes at every call. */
async function encode() {
  const random = new SeededRandom(11);
  const sign = () => random.bytes(512);
  const validity = { notBefore: noon, notAfter: Date.UTC(2051, 0, 1) };
  const [keyId, issuerKeyId] = [random.bytes(20), random.bytes(20)];
  const modulus = random.bytes(512);
  modulus[0]! |= 0x80;
  const publicKey = { modulus, exponent: Uint8Array.of(1, 0, 1) };
  const point = { x: random.bytes(48), y: random.bytes(48) };
  const milan = sev.developmentEndorsementRules('Milan');
  const turin = sev.developmentEndorsementRules('Turin');
  const common = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };
  const vcek = sev.newVekCertificate(turin, {
    ...validity,
    publicKey: point,
    vek: {
      kind: 'VCEK',
      line: 'Turin',
      productName: 'Turin',
      tcb: { ...common, fmc: 1 },
      hwid: random.bytes(8),
    },
  });
  const vlek = sev.newVekCertificate(milan, {
    ...validity,
    publicKey: point,
    vek: { kind: 'VLEK', line: 'Milan', productName: 'Milan-B0', tcb: common, cspId: 'CN=cloud.example' },
  });
  const ask = sev.newAuthorityCertificate(milan, {
    ...validity,
    role: 'ASK',
    serial: 1n,
    publicKey,
    keyId,
    issuerKeyId,
  });
  const list = sev.newEndorsementRevocationList(milan, {
    thisUpdate: noon,
    nextUpdate: noon + 86_400_000,
    revoked: [{ serial: 1n, revokedAt: noon }],
    number: 3,
    issuerKeyId,
  });
  const scope = sev.issuingDistributionPointExtension({
    uris: ['https://kds.example/crl'],
    authoritiesOnly: true,
  });
  const scoped = { ...list, extensions: [...(list.extensions ?? []), scope] };
  return {
    certificates: await Promise.all([ask, vcek, vlek].map((each) => sev.encodeCertificate(each, sign))),
    lists: await Promise.all([list, scoped].map((each) => sev.encodeRevocationList(each, sign))),
    authorityExtensions: ask.extensions,
    scope,
  };
}

const seeds = await encode();

export const x509Seeds = {
  ...seeds,
  certificatePem: sev.encodePem('CERTIFICATE', seeds.certificates[1]!),
  listPem: sev.encodePem('X509 CRL', seeds.lists[0]!),
  /** Two short blocks: what is inside does not matter to a reader of PEM. */
  pem: [5, 60].map((length) => sev.encodePem('CERTIFICATE', new Uint8Array(length).fill(length))).join(''),
  /** The value of an authority's extension. */
  extension(oid: string): Uint8Array {
    return seeds.authorityExtensions.find((each) => each.oid === oid)!.value;
  },
};
