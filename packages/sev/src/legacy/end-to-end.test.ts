import { expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { concat, fromBase64, fromHex, toBase64, toHex, u32le } from '../bytes.js';
import {
  aes128Ctr,
  digest,
  ecdhP384,
  hmacSha256,
  type P384PrivateKey,
  systemRandom,
} from '../crypto/index.js';
import { buildSecretTable } from '../launch/secret-table.js';
import { openSecret, type Secret } from '../secret.js';
import { p384KeyOfScalar } from '../testing/keys.js';
import { describeWithVectors, jsonVector } from '../testing/vectors.js';
import { attestationReport, verifyAttestationReport } from './attestation-report.js';
import { buildSevCertificate, p384KeyOf, parseSevCertificate } from './certificate.js';
import { deriveMasterSecret, deriveWrappingKeys } from './key-derivation.js';
import { appraiseLaunchMeasurement, macContexts, measureLaunch } from './measurement.js';
import { buildGuestPolicy } from './policy.js';
import { buildSecretPacket, openSecretPacket, secretPacketHeader } from './secret-packet.js';
import { createLaunchSession, unwrapTransportKeys } from './session.js';

interface Vector {
  readonly godh_private: string;
  readonly pdh_private: string;
  readonly pek_private: string;
  readonly policy: number;
  readonly api: readonly [number, number];
  readonly build: number;
  readonly nonce: string;
  readonly wrap_iv: string;
  readonly tek: string;
  readonly tik: string;
  readonly launch_data_hex_or_file: readonly string[];
  readonly expect: {
    readonly godh_cert_b64: string;
    readonly pdh_cert_unsigned_b64: string;
    readonly shared_secret: string;
    readonly master: string;
    readonly kek: string;
    readonly kik: string;
    readonly session_b64: string;
    readonly launch_digest: string;
    readonly mnonce: string;
    readonly measurement: string;
    readonly secret: Readonly<Record<'guid' | 'data_utf8' | 'table' | 'iv' | 'header' | 'payload', string>>;
    readonly send_update_data: Readonly<
      Record<'tek' | 'tik' | 'plaintext' | 'iv' | 'payload' | 'header' | 'header_if_vmsa_context_03', string>
    >;
    readonly attestation_report: Readonly<
      Record<'mnonce' | 'report' | 'pek_public_x' | 'pek_public_y', string>
    >;
  };
}

const opened = (secret: Secret) => toHex(openSecret(secret));

describeWithVectors('one launch from end to end, known answers', () => {
  const vector = jsonVector<Vector>('sev/end-to-end.json');
  const answer = vector.expect;
  const key = (scalar: string): P384PrivateKey => p384KeyOfScalar(fromHex(scalar));
  const [godh, pdh, pek] = [key(vector.godh_private), key(vector.pdh_private), key(vector.pek_private)];
  const [tek, tik] = [fromHex(vector.tek), fromHex(vector.tik)];
  const [apiMajor, apiMinor] = vector.api;
  const platform = { apiMajor, apiMinor, buildId: vector.build };
  const { policy } = vector;

  test('the platform’s PDH certificate', () => {
    const { publicKey } = pdh;
    const made = buildSevCertificate({
      apiMajor,
      apiMinor,
      usage: 'PDH',
      algorithm: 'ECDH-SHA256',
      publicKey,
    });
    expect(toBase64(made)).toBe(answer.pdh_cert_unsigned_b64);
  });

  test('the key schedule, from both sides', async () => {
    const godhCertificate = parseSevCertificate(fromBase64(answer.godh_cert_b64));
    const owners = await ecdhP384(godh, pdh.publicKey);
    const platforms = await ecdhP384(pdh, p384KeyOf(godhCertificate));
    expect(opened(owners)).toBe(answer.shared_secret);
    expect(opened(platforms)).toBe(answer.shared_secret);
    expect(opened(await deriveMasterSecret(owners, fromHex(vector.nonce)))).toBe(answer.master);
    const { kek, kik } = await deriveWrappingKeys(owners, fromHex(vector.nonce));
    expect([opened(kek), opened(kik)]).toEqual([answer.kek, answer.kik]);
  });

  test('the launch session, byte by byte, and what the platform makes of it', async () => {
    const certificate = parseSevCertificate(fromBase64(answer.pdh_cert_unsigned_b64));
    const { nonce, wrap_iv } = vector;
    const made = await createLaunchSession({
      pdh: p384KeyOf(certificate),
      policy,
      random: systemRandom,
      keys: { godh, tek, tik, nonce: fromHex(nonce), wrapIv: fromHex(wrap_iv) },
    });
    expect(toBase64(made.godhCertificate)).toBe(answer.godh_cert_b64);
    expect(toBase64(made.session)).toBe(answer.session_b64);
    const sharedSecret = await ecdhP384(pdh, godh.publicKey);
    const unwrapped = await unwrapTransportKeys({ sharedSecret, session: made.session, policy });
    expect([opened(unwrapped.tek), opened(unwrapped.tik)]).toEqual([vector.tek, vector.tik]);
  });

  test('the measurement', async () => {
    const launchDigest = await digest(
      'sha256',
      ...vector.launch_data_hex_or_file.map((data) => fromHex(data)),
    );
    expect(toHex(launchDigest)).toBe(answer.launch_digest);
    const mnonce = fromHex(answer.mnonce);
    const measurement = await measureLaunch({ tik, ...platform, policy, launchDigest, mnonce });
    expect(toHex(measurement)).toBe(answer.measurement);
  });

  test('the owner’s verdict, with and without enough API', async () => {
    const expectedDigests = [{ name: 'the launch', digest: fromHex(answer.launch_digest) }];
    const blob = fromHex(answer.measurement + answer.mnonce);
    const accepted = async (minimum: number) => {
      const minimumApi = { apiMajor, apiMinor: minimum };
      const options = {
        blob,
        tik,
        policy,
        expectedDigests,
        platform,
        minimumApi,
        expectedBuild: vector.build,
      };
      return verdict(await appraiseLaunchMeasurement(options));
    };
    expect((await accepted(apiMinor)).word).toBe('accepted');
    expect((await accepted(apiMinor + 1)).failed.map(({ id }) => id)).toEqual(['measurement.minimum-api']);
  });

  test('the same launch under a policy that asks for this API, and for a later one', async () => {
    const launchDigest = fromHex(answer.launch_digest);
    const mnonce = fromHex(answer.mnonce);
    const failures = async (least: number) => {
      const asking = buildGuestPolicy({ noDebug: true, apiMajor, apiMinor: least });
      const measurement = await measureLaunch({ tik, ...platform, policy: asking, launchDigest, mnonce });
      const expectedDigests = [{ name: 'the launch', digest: launchDigest }];
      const blob = concat(measurement, mnonce);
      const options = { blob, tik, policy: asking, expectedDigests, platform };
      return verdict(await appraiseLaunchMeasurement(options)).failed.map(({ id }) => id);
    };
    expect(await failures(apiMinor)).toEqual([]);
    expect(await failures(apiMinor + 1)).toEqual(['measurement.policy-api']);
  });

  test('the secret packet', async () => {
    const { guid, data_utf8, table, iv, header, payload } = answer.secret;
    const plaintext = buildSecretTable([{ guid, data: new TextEncoder().encode(data_utf8) }]);
    expect(opened(plaintext)).toBe(table);
    const binding = { tek, tik, measurement: fromHex(answer.measurement), apiMajor, apiMinor };
    const packet = await buildSecretPacket({ ...binding, iv: fromHex(iv), plaintext });
    expect([toHex(packet.header), toHex(packet.payload)]).toEqual([header, payload]);
    expect(toHex(await openSecretPacket({ ...binding, ...packet }))).toBe(table);
  });

  test.each([
    ['memory', macContexts.UPDATE_DATA, answer.send_update_data.header],
    ['a VMSA', macContexts.UPDATE_VMSA, answer.send_update_data.header_if_vmsa_context_03],
  ])('the migration packet of %s', async (_what, context, expected) => {
    const known = answer.send_update_data;
    const { flags, iv, mac } = secretPacketHeader.parse(fromHex(expected));
    expect(flags.compressed).toBe(false);
    expect(toHex(iv)).toBe(known.iv);
    const payload = await aes128Ctr(fromHex(known.tek), iv, fromHex(known.plaintext));
    expect(toHex(payload)).toBe(known.payload);
    const length = u32le(payload.length);
    const covered = concat(Uint8Array.of(context), u32le(0), iv, length, length, payload);
    expect(toHex(await hmacSha256(fromHex(known.tik), covered))).toBe(toHex(mac));
  });

  test('the attestation report', async () => {
    const { mnonce, report, pek_public_x, pek_public_y } = answer.attestation_report;
    expect([toHex(pek.publicKey.x), toHex(pek.publicKey.y)]).toEqual([pek_public_x, pek_public_y]);
    const appraisal = await verifyAttestationReport(fromHex(report), pek.publicKey, {
      mnonce: fromHex(mnonce),
      expectedDigest: fromHex(answer.launch_digest),
      policy,
    });
    expect(verdict(appraisal)).toMatchObject({ word: 'accepted', failed: [] });
    expect(toHex(attestationReport.build(attestationReport.parse(fromHex(report))))).toBe(report);
  });
});
