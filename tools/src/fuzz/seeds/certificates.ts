import * as sev from '@vouchsafe/sev';
import { SeededRandom } from '../mutate.js';

/** Certificates in form only: numbers that no key has, because a parser asks nothing of them. */
export function certificateSeeds() {
  const random = new SeededRandom(2);
  const point = () => ({ x: random.bytes(48), y: random.bytes(48) });
  const version = { apiMajor: 0, apiMinor: 24 };
  const ecdsaField = () => sev.ecdsaSignature.build({ r: random.bytes(48), s: random.bytes(48) });
  const signedBy = (certificate: Uint8Array, ...usages: readonly ('OCA' | 'CEK' | 'PEK')[]) =>
    usages.reduce(
      (so, usage) => sev.addSignature(so, { usage, algorithm: 'ECDSA-SHA256' }, ecdsaField()),
      certificate,
    );
  const ecdsa = (usage: 'OCA' | 'PEK' | 'CEK') =>
    sev.buildSevCertificate({ ...version, usage, algorithm: 'ECDSA-SHA256', publicKey: point() });

  const oca = signedBy(ecdsa('OCA'), 'OCA');
  const pek = signedBy(ecdsa('PEK'), 'OCA', 'CEK');
  const bareCek = ecdsa('CEK');
  const askSignature = sev.rsaSignatureField(random.bytes(512));
  const cek = sev.addSignature(bareCek, { usage: 'ASK', algorithm: 'RSA-SHA384' }, askSignature);
  const pdh = signedBy(
    sev.buildSevCertificate({ ...version, usage: 'PDH', algorithm: 'ECDH-SHA256', publicKey: point() }),
    'PEK',
  );

  const ca = (usage: 'ARK' | 'ASK', modulusBits: 2048 | 4096) => {
    const width = modulusBits / 8;
    const modulus = random.bytes(width);
    modulus[0]! |= 0x80;
    modulus[width - 1]! |= 1;
    const [keyId, certifyingId] = [random.bytes(16), random.bytes(16)];
    const exponent = Uint8Array.of(1, 0, 1);
    const body = sev.buildAmdCaBody({ keyId, certifyingId, usage, modulusBits, modulus, exponent });
    return sev.assembleAmdCaCertificate(body, random.bytes(width));
  };
  const [ask, ark, smallArk] = [ca('ASK', 4096), ca('ARK', 4096), ca('ARK', 2048)];
  return {
    sev: [oca, pek, bareCek, cek, pdh],
    amdCa: [ask, ark, smallArk],
    chain: { pdh, pek, oca, cek, ask, ark },
  };
}

/** A platform's chain in each packaging that is read. */
export function chainFileSeeds(): Uint8Array[] {
  const { pdh, pek, oca, cek, ask, ark } = certificateSeeds().chain;
  const utf8 = (text: string) => new TextEncoder().encode(text);
  const whole = sev.concat(pdh, pek, oca, cek, ask, ark);
  const capabilities = {
    return: { pdh: sev.toBase64(pdh), 'cert-chain': sev.toBase64(sev.concat(pek, oca, cek)) },
  };
  const lists = { chain: { ca: { ark: [...ark], ask: [...ask] }, sev: { pek: [...pek] } } };
  return [
    pdh,
    sev.concat(pek, oca, cek),
    whole,
    sev.concat(ask, ark),
    utf8(sev.toBase64(sev.concat(ask, ark))),
    utf8(JSON.stringify(capabilities)),
    utf8(JSON.stringify(lists)),
  ];
}
