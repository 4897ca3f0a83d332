import { beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { generateCaKey, keptCaKey } from '../testing/development-platform.js';
import { makeEndorser, type TestEndorser } from '../testing/endorsements.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { parseCertificate } from '../x509/certificate.js';
import { readCertificates } from '../x509/files.js';
import { nameText } from '../x509/name.js';
import { authorityIdentity, claimedRules } from './endorsement-rules.js';
import { amdEndorsementRoots, certificateFingerprint, developmentEndorsementRoot } from './trust-anchor.js';

/** SHA-256 of AMD's certificates, as the key distribution service hands them out. */
const pins: Readonly<Record<string, string>> = {
  'ARK-Milan': '69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd',
  'SEV-Milan': '67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b',
  'SEV-VLEK-Milan': 'c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5',
  'ARK-Genoa': '4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1',
  'SEV-Genoa': '5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521',
  'SEV-VLEK-Genoa': '197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372',
  'ARK-Turin': '1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a',
  'SEV-Turin': '5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185',
  'SEV-VLEK-Turin': '104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c',
};

describeWithVectors('AMD’s authorities', () => {
  test.each(['Milan', 'Genoa', 'Turin'] as const)(
    'of %s have the pinned fingerprints and names',
    async (line) => {
      const root = amdEndorsementRoots.find((each) => each.line === line)!;
      expect(root).toMatchObject({ name: `AMD, ${line}`, kind: 'amd' });
      for (const [file, roles] of [
        [line, ['ASK', 'ARK']],
        [`${line}-vlek`, ['ASVK', 'ARK']],
      ] as const) {
        const certificates = readCertificates(vectors(`snp/certs/cert_chain_${file.toLowerCase()}.pem`));
        for (const [i, role] of roles.entries()) {
          const certificate = certificates[i]!;
          const { attributes } = certificate.subject;
          expect(attributes).toEqual(root.authorities[role].subject);
          expect(authorityIdentity(attributes)).toEqual({ kind: 'amd', line, role });
          expect(await certificateFingerprint(certificate)).toBe(pins[attributes.at(-1)!.value]);
          if (role === 'ARK') expect(await certificateFingerprint(certificate)).toBe(root.arkSha256);
        }
      }
    },
  );

  test('are no development root', async () => {
    const [ask, ark] = readCertificates(vectors('snp/certs/cert_chain_milan.pem'));
    await expect(developmentEndorsementRoot(ark!.raw)).rejects.toThrow(InvalidArgumentError);
    await expect(developmentEndorsementRoot(ask!.raw)).rejects.toThrow(
      'expected a Vouchsafe Development ARK',
    );
  });
});

describe('a development root', () => {
  let small: TestEndorser;
  beforeAll(async () => {
    const key = generateCaKey(2048);
    small = await makeEndorser('Genoa', { ARK: key, ASK: key, ASVK: key });
  });

  test('is told from its ARK', async () => {
    const key = keptCaKey('ark', 4096);
    const endorser = await makeEndorser('Turin', { ARK: key, ASK: key, ASVK: key });
    const root = await developmentEndorsementRoot(endorser.ark.raw);
    expect(root).toEqual(endorser.root);
    expect(root).toMatchObject({ name: 'Vouchsafe Development, Turin', kind: 'development', line: 'Turin' });
    expect(root.arkSha256).toBe(await certificateFingerprint(endorser.ark));
    expect(nameText(root.authorities.ASVK.subject)).toBe(
      'OU=Software Processors, O=Vouchsafe Development, CN=SEV-VLEK-Turin',
    );
  });

  test('is not an ASK, a key of another size, or no certificate', async () => {
    await expect(developmentEndorsementRoot(small.ask.raw)).rejects.toThrow(
      'found OU=Software Processors, O=Vouchsafe Development, CN=SEV-Genoa',
    );
    await expect(developmentEndorsementRoot(small.ark.raw)).rejects.toThrow(
      'expected RSA 4096 bits, exponent 65537, found RSA 2048 bits',
    );
    await expect(developmentEndorsementRoot(Uint8Array.of(0x30, 0))).rejects.toThrow(MalformedError);
  });

  test('does not pass as AMD’s, whatever its common name', () => {
    const { attributes } = parseCertificate(small.ark.raw).subject;
    expect(authorityIdentity(attributes)).toEqual({ kind: 'development', line: 'Genoa', role: 'ARK' });
    const stranger = [
      { type: 'O', value: 'Advanced Micro Devices' },
      { type: 'CN', value: 'ARK-Genoa' },
    ];
    for (const name of [
      stranger,
      stranger.slice(1),
      [],
      [{ type: 'CN', value: 'ARK-Rome' }],
      [{ type: 'CN', value: 'CA-Genoa' }],
    ])
      expect(authorityIdentity(name)).toBeUndefined();
    expect(claimedRules([stranger, attributes])?.name).toBe('Vouchsafe Development, Genoa');
    expect(claimedRules([stranger])).toBeUndefined();
  });
});
