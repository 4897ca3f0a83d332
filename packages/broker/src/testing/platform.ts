import {
  type LaunchBundle,
  type LaunchRequest,
  launchRequest,
  type SecretDelivery,
} from '@vouchsafe/protocol';
import {
  concat,
  ecdhP384,
  type FirmwareVersion,
  measureLaunch,
  openSecretPacket,
  p384KeyOf,
  parseSevCertificate,
  systemRandom,
  UnavailableError,
  unwrapTransportKeys,
} from '@vouchsafe/sev';
import {
  generateCaKey,
  generatePlatformKeys,
  makeAuthority,
  makePlatform,
} from '../../../sev/src/testing/development-platform.js';
import type { KeyService } from '../pre-launch/platform.js';

export type TestPlatform = Awaited<ReturnType<typeof makeTestPlatform>>;
export type TestAuthority = Awaited<ReturnType<typeof makeTestAuthority>>;

export const version: FirmwareVersion = { apiMajor: 0, apiMinor: 24, buildId: 13 };

/** Naples' form: its keys are the quickest to make. */
export async function makeTestAuthority() {
  return makeAuthority('naples', generateCaKey(2048), generateCaKey(2048));
}

/** A platform as its host sees it, with the processor's half of a launch: just what LAUNCH_START and so on compute. */
export async function makeTestPlatform(authority: TestAuthority) {
  const keys = await generatePlatformKeys();
  const chain = await makePlatform(authority, keys);
  const chipId = systemRandom(64);
  const certificateAuthority = concat(authority.ask.raw, authority.ark.raw);
  const forwarded = concat(chain.pek.raw, chain.oca.raw, chain.cek.raw);
  const exported = concat(chain.pek.raw, chain.oca.raw, chain.exportedCek.raw);

  const request = (changes: object = {}): LaunchRequest =>
    launchRequest.parse(
      launchRequest.toJson({
        ...{ case: 'B', ...version, pdh: chain.pdh.raw, certificateChain: forwarded, certificateAuthority },
        ...changes,
      } as LaunchRequest),
    );
  const requestForCaseA = (changes: object = {}): LaunchRequest => ({
    ...{ case: 'A', ...version, pdh: chain.pdh.raw, certificateChain: exported, chipId },
    ...changes,
  });

  const keyService: KeyService = {
    async cek(wanted) {
      if (wanted.some((byte, i) => byte !== chipId[i]))
        throw new UnavailableError('key service', 'unknown chip');
      return chain.cek.raw;
    },
    issuerOf: async () => ({ generation: authority.generation, askArk: certificateAuthority }),
  };

  /** LAUNCH_START: unwraps the session as the firmware does, and gives what it can do from then on. */
  async function start(bundle: LaunchBundle, { policy = bundle.policy, firmware = version } = {}) {
    const owner = p384KeyOf(parseSevCertificate(bundle.godhCertificate));
    const sharedSecret = await ecdhP384(keys.pdh, owner);
    const { tek, tik } = await unwrapTransportKeys({ sharedSecret, session: bundle.session, policy });
    return {
      tek,
      tik,
      async measure(launchDigest: Uint8Array): Promise<Uint8Array> {
        const mnonce = systemRandom(16);
        return concat(await measureLaunch({ ...firmware, tik, policy, launchDigest, mnonce }), mnonce);
      },
      open: (delivery: SecretDelivery, blob: Uint8Array) =>
        openSecretPacket({ ...delivery, ...firmware, tek, tik, measurement: blob.slice(0, 32) }),
    };
  }

  return { authority, keys, chain, chipId, request, requestForCaseA, keyService, start };
}
