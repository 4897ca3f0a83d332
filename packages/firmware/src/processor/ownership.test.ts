import {
  buildSevCertificate,
  ecdsaSignature,
  equalBytes,
  generateP384,
  isSignedBy,
  type P384PrivateKey,
  parseSevCertificate,
  pekCertImportBuffer,
  signP384,
  signSevCertificate,
  withoutSignatures,
} from '@vouchsafe/sev';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { manufactureChip } from '../identity/chip.js';
import { places, seededRandom, TestHypervisor, testMachine } from '../testing/hypervisor.js';

const algorithm = 'ECDSA-SHA256';
const random = seededRandom('ownership');

describe('PEK_CERT_IMPORT', () => {
  let owner: P384PrivateKey;
  let stranger: P384PrivateKey;
  let hypervisor: TestHypervisor;
  let request: Uint8Array;

  beforeAll(async () => {
    owner = await generateP384();
    stranger = await generateP384();
  });
  beforeEach(async () => {
    hypervisor = new TestHypervisor(testMachine({ chip: manufactureChip({ random }), random }).host);
    await hypervisor.start();
    request = withoutSignatures((await hypervisor.exportCertificates()).pek);
  });

  const ownerCertificate = (key: P384PrivateKey, usage: 'OCA' | 'PEK' = 'OCA') =>
    buildSevCertificate({ apiMajor: 1, apiMinor: 55, usage, algorithm, publicKey: key.publicKey });
  const signed = (certificate: Uint8Array, key: P384PrivateKey, usage: 'OCA' | 'PEK' = 'OCA') =>
    signSevCertificate(certificate, { usage, algorithm, key });
  const selfSigned = async (key: P384PrivateKey) => signed(ownerCertificate(key), key);

  async function importing(
    pek: Uint8Array,
    oca: Uint8Array,
    lengths = { pekLength: 0x824, ocaLength: 0x824 },
  ) {
    await hypervisor.host.memory.write(places.certificate, pek);
    await hypervisor.host.memory.write(places.chain, oca);
    const command = { pekAddress: BigInt(places.certificate), ocaAddress: BigInt(places.chain), ...lengths };
    return hypervisor.call('PEK_CERT_IMPORT', [pekCertImportBuffer, command]);
  }

  /** Signs bytes that the strict parser would refuse: the signature goes into the first slot by hand. */
  async function signRaw(certificate: Uint8Array, key: P384PrivateKey): Promise<Uint8Array> {
    const raw = certificate.slice();
    const slot = ecdsaSignature.build(await signP384(key, 'sha256', raw.subarray(0, 0x414)));
    const view = new DataView(raw.buffer);
    view.setUint32(0x414, 0x1001, true);
    view.setUint32(0x418, 0x2, true);
    raw.set(slot, 0x41c);
    return raw;
  }

  it('makes the platform the owner’s: CEK added in the free slot, new PDH, and it lasts', async () => {
    const before = await hypervisor.exportCertificates();
    const oca = await selfSigned(owner);
    expect(await importing(await signed(request, owner), oca)).toBe('SUCCESS');
    expect((await hypervisor.status()).owner.externallyOwned).toBe(true);
    const after = await hypervisor.exportCertificates();
    expect(after.oca).toEqual(oca);
    const [pek, cek, pdh] = [after.pek, after.cek, after.pdh].map((bytes) => parseSevCertificate(bytes));
    expect(pek!.signatures.map((slot) => slot.usage)).toEqual(['OCA', 'CEK']);
    expect(await isSignedBy(pek!, parseSevCertificate(oca))).toBe(true);
    expect(await isSignedBy(pek!, cek!)).toBe(true);
    expect(await isSignedBy(pdh!, pek!)).toBe(true);
    expect(equalBytes(after.pdh, before.pdh)).toBe(false);
    await hypervisor.call('SHUTDOWN');
    await hypervisor.start();
    expect(await hypervisor.exportCertificates()).toEqual(after);
    expect((await hypervisor.status()).owner.externallyOwned).toBe(true);
  });

  it('is ALREADY_OWNED after that, until PEK_GEN makes the platform self-owned', async () => {
    const oca = await selfSigned(owner);
    const pek = await signed(request, owner);
    expect(await importing(pek, oca)).toBe('SUCCESS');
    expect(await importing(pek, oca)).toBe('ALREADY_OWNED');
    expect(await hypervisor.call('PEK_GEN')).toBe('SUCCESS');
    expect((await hypervisor.status()).owner.externallyOwned).toBe(false);
    expect(await importing(pek, oca)).toBe('INVALID_CERTIFICATE');
  });

  it('refuses lengths other than a certificate’s, before anything else', async () => {
    const oca = await selfSigned(owner);
    const pek = await signed(request, owner);
    expect(await importing(pek, oca, { pekLength: 0x823, ocaLength: 0x824 })).toBe('INVALID_LENGTH');
    expect(await importing(pek, oca, { pekLength: 0x824, ocaLength: 0x825 })).toBe('INVALID_LENGTH');
    expect(await importing(pek, oca)).toBe('SUCCESS');
    expect(await importing(pek, oca, { pekLength: 0, ocaLength: 0x824 })).toBe('INVALID_LENGTH');
  });

  const refusals: [
    string,
    'BAD_SIGNATURE' | 'INVALID_CERTIFICATE',
    () => Promise<[Uint8Array, Uint8Array]>,
  ][] = [
    [
      'an OCA that is not signed',
      'BAD_SIGNATURE',
      async () => [await signed(request, owner), ownerCertificate(owner)],
    ],
    [
      'an OCA signed by somebody else',
      'BAD_SIGNATURE',
      async () => [await signed(request, owner), await signed(ownerCertificate(owner), stranger)],
    ],
    ['a PEK that is not signed', 'BAD_SIGNATURE', async () => [request, await selfSigned(owner)]],
    [
      'a PEK signed by another owner',
      'BAD_SIGNATURE',
      async () => [await signed(request, stranger), await selfSigned(owner)],
    ],
    [
      'a PEK whose body was changed',
      'BAD_SIGNATURE',
      async () => {
        const pek = await signed(request, owner);
        pek[5]! ^= 1;
        return [pek, await selfSigned(owner)];
      },
    ],
    [
      'another platform’s PEK, properly signed',
      'INVALID_CERTIFICATE',
      async () => [await signed(ownerCertificate(stranger, 'PEK'), owner), await selfSigned(owner)],
    ],
    [
      'a signature slot that names a usage and no algorithm',
      'BAD_SIGNATURE',
      async () => {
        const pek = await signed(request, owner);
        new DataView(pek.buffer).setUint32(0x61c, 0x1004, true);
        return [pek, await selfSigned(owner)];
      },
    ],
    [
      'two signatures of the same signer',
      'BAD_SIGNATURE',
      async () => [await signed(await signed(request, owner), owner), await selfSigned(owner)],
    ],
    [
      'a PEK without a free slot',
      'INVALID_CERTIFICATE',
      async () => {
        const pek = await signSevCertificate(await signed(request, owner), {
          usage: 'CEK',
          algorithm,
          key: stranger,
        });
        return [pek, await selfSigned(owner)];
      },
    ],
    [
      'an OCA of an unknown version, properly signed',
      'INVALID_CERTIFICATE',
      async () => {
        const oca = ownerCertificate(owner);
        oca[0] = 2;
        return [await signed(request, owner), await signRaw(oca, owner)];
      },
    ],
    [
      'a PEK of an unknown version, properly signed',
      'INVALID_CERTIFICATE',
      async () => {
        const pek = request.slice();
        pek[0] = 2;
        return [await signRaw(pek, owner), await selfSigned(owner)];
      },
    ],
    [
      'an owner’s certificate that is a PEK',
      'INVALID_CERTIFICATE',
      async () => {
        const oca = await signed(ownerCertificate(owner, 'PEK'), owner, 'PEK');
        return [await signed(request, owner, 'PEK'), oca];
      },
    ],
  ];
  it.each(refusals)('refuses %s with %s, and leaves the platform as it was', async (_what, status, make) => {
    const before = await hypervisor.exportCertificates();
    const [pek, oca] = await make();
    expect(await importing(pek, oca)).toBe(status);
    expect(await hypervisor.exportCertificates()).toEqual(before);
    expect((await hypervisor.status()).owner.externallyOwned).toBe(false);
  });
});
