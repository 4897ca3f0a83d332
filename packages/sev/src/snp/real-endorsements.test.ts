import { expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { MalformedError } from '../errors.js';
import { pseudoRandom } from '../testing/random.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { parseCertificate, type X509Certificate } from '../x509/certificate.js';
import { readCertificates } from '../x509/files.js';
import { amdEndorsementRoots, certificateFingerprint } from './trust-anchor.js';
import { appraiseEndorsement, type EndorsementOptions } from './verify-endorsement.js';

interface Verdict {
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
  readonly after_expiry: { readonly at: string };
}

const options = (at: number): EndorsementOptions => ({ roots: amdEndorsementRoots, at, revocation: 'skip' });
const chainFile = (name: string) => readCertificates(vectors(`snp/certs/cert_chain_${name}.pem`));

/** The ids of the checks that failed. */
async function failures(vek: X509Certificate, certificates: readonly X509Certificate[], at: number) {
  const appraisal = await appraiseEndorsement({ vek, certificates }, options(at));
  return verdict(appraisal).failed.map(({ id }) => id.replace('endorsement.', ''));
}

describeWithVectors('real endorsements', () => {
  const { cases } = jsonVector<{ cases: readonly Verdict[] }>('snp/verdicts.json');
  const read = ({ vek, chain }: Verdict) => ({
    vek: readCertificates(vectors(`snp/reports/${vek}`))[0]!,
    certificates: readCertificates(vectors(`snp/certs/${chain}`)),
  });

  test.each(cases)('$vek leads to AMD’s root', async (each) => {
    const { vek, certificates } = read(each);
    const at = Date.parse(each.at);
    const appraisal = await appraiseEndorsement({ vek, certificates }, options(at));
    expect(verdict(appraisal)).toEqual({ accepted: true, word: 'authentic', failed: [] });
    const [, ark] = certificates;
    expect(appraisal.root).toMatchObject({ kind: 'amd', fingerprint: await certificateFingerprint(ark!) });
    expect(await failures(vek, [...certificates].reverse(), at)).toEqual([]);
    expect(await failures(vek, certificates, vek.notAfter)).toEqual([]);
    expect(await failures(vek, certificates, vek.notBefore)).toEqual([]);
  });

  test.each(cases)('$vek is refused after and before its time', async (each) => {
    const { vek, certificates } = read(each);
    expect(await failures(vek, certificates, Date.parse(each.after_expiry.at))).toEqual(['vek.validity']);
    expect(await failures(vek, certificates, vek.notAfter + 1)).toEqual(['vek.validity']);
    expect(await failures(vek, certificates, vek.notBefore - 1)).toEqual(['vek.validity']);
  });

  test.each(['vcek-hwid-octetstring', 'vcek-hwid-raw'])(
    '%s is read, and refused by its signature',
    async (name) => {
      const [vek] = readCertificates(vectors(`snp/certs/${name}.invalid.der`));
      expect(await failures(vek!, chainFile('milan'), vek!.notBefore)).toEqual(['vek.ask-signature']);
    },
  );

  test('without a list, revocation is a failure where it is required and not asked where it is not', async () => {
    const { vek, certificates } = read(cases[0]!);
    const at = Date.parse(cases[0]!.at);
    for (const revocation of ['require', 'if-available', 'skip'] as const) {
      const appraisal = await appraiseEndorsement({ vek, certificates }, { ...options(at), revocation });
      const statuses = appraisal.checks.slice(-2).map(({ status }) => status);
      expect(statuses).toEqual([revocation === 'require' ? 'fail' : 'not-asked', 'not-asked']);
      expect(verdict(appraisal).accepted).toBe(revocation !== 'require');
    }
  });

  test.each(['milan', 'genoa', 'turin'])(
    'a chain of %s does not endorse the chips of others',
    async (name) => {
      for (const each of cases.filter(({ chain }) => !chain.includes(name))) {
        const { vek } = read(each);
        const found = await failures(vek, chainFile(name), Date.parse(each.at));
        expect(found).toEqual(expect.arrayContaining(['vek.name', 'vek.product', 'vek.ask-signature']));
      }
    },
  );

  const exhaustive = process.env['VOUCHSAFE_FULL'] === '1';
  const flips = exhaustive ? 'every flipped bit' : 'one flipped bit in every byte';

  // Those of VEKs are in bit-flips.test.ts.
  test(`${flips} of each authority is refused`, async () => {
    const survivors: string[] = [];
    const seeded = pseudoRandom(0x509);
    for (const [name, certificate, refused] of subjects()) {
      const flip = async (offset: number, bit: number) => {
        const bytes = certificate.raw.slice();
        bytes[offset]! ^= 1 << bit;
        if (!(await refused(bytes))) survivors.push(`${name}: bit ${bit} of byte ${offset}`);
      };
      const bitsToFlip = () => (exhaustive ? [0, 1, 2, 3, 4, 5, 6, 7] : [seeded() & 7]);
      for (let offset = 0; offset < certificate.raw.length; offset += 8) {
        const block = Array.from(
          { length: Math.min(8, certificate.raw.length - offset) },
          (_, i) => offset + i,
        );
        await Promise.all(block.flatMap((at) => bitsToFlip().map((bit) => flip(at, bit))));
      }
    }
    expect(survivors).toEqual([]);
  }, 3_600_000);

  /** Every real authority's certificate, with the verification of a chain in which changed bytes stand in its place. */
  function subjects(): [string, X509Certificate, (bytes: Uint8Array) => Promise<boolean>][] {
    const refusal = async (
      bytes: Uint8Array,
      chain: (changed: X509Certificate) => X509Certificate[],
      at: number,
    ) => {
      let changed: X509Certificate;
      try {
        changed = parseCertificate(bytes);
      } catch (error) {
        if (error instanceof MalformedError) return true;
        throw error;
      }
      const [vek, ...certificates] = chain(changed);
      return !verdict(await appraiseEndorsement({ vek: vek!, certificates }, options(at))).accepted;
    };
    const seen = new Set<string>();
    return cases.flatMap((each) => {
      const { vek, certificates } = read(each);
      const [ask, ark] = certificates as [X509Certificate, X509Certificate];
      const at = Date.parse(each.at);
      const list: [string, X509Certificate, (changed: X509Certificate) => X509Certificate[]][] = [
        [`${each.chain}, first`, ask, (changed) => [vek, changed, ark]],
        [`${each.chain}, second`, ark, (changed) => [vek, ask, changed]],
      ];
      const fresh = list.filter(([name]) => !seen.has(name));
      for (const [name] of fresh) seen.add(name);
      return fresh.map(([name, certificate, chain]) => [
        name,
        certificate,
        (bytes: Uint8Array) => refusal(bytes, chain, at),
      ]);
    });
  }
});
