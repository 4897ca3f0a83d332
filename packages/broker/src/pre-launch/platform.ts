import type { KdsClient } from '@vouchsafe/kds';
import type { LaunchRequest } from '@vouchsafe/protocol';
import {
  type ApiVersion,
  type Appraisal,
  Appraiser,
  apiAtLeast,
  apiVersionText,
  bindsMeasurement,
  checkTable,
  InvalidArgumentError,
  minimumApiOf,
  type P384PublicKey,
  type PlatformRoot,
  p384KeyOf,
  parseAmdCaCertificate,
  parseSevCertificate,
  verdict,
  verifyPlatformChain,
} from '@vouchsafe/sev';

/** The part of a key service's client that the owner uses, in case A. */
export type KeyService = Pick<KdsClient, 'cek' | 'issuerOf'>;

export interface PlatformExpectations {
  readonly roots: readonly PlatformRoot[];
  /** Case A: where the owner fetches CEK, ASK and ARK itself. Without it, only case B is answered. */
  readonly keyService?: KeyService;
  /** Certificate of the one platform owner (OCA, 0x824 bytes) whose machines are welcome; without it, anyone's. */
  readonly owner?: Uint8Array;
  readonly minimumApi?: ApiVersion;
  readonly allowApiBelow017?: boolean;
  /** Firmware builds that the owner has examined; without them, any. */
  readonly expectedBuilds?: readonly number[];
}

export const announcementChecks = checkTable({
  'platform.api-binding': {
    title: 'announced firmware binds its version and its measurement',
    protects:
      'before API 0.17 a host can lie about the version, and a secret packet fits any launch under the same keys',
    hint: 'update the platform’s firmware; to accept this limit, allow API below 0.17 by name',
    kind: 'authenticity',
  },
  'platform.api': {
    title: 'announced firmware is as new as policy and owner ask',
    protects: 'a host could launch on firmware with flaws that a later version repaired',
    hint: 'update the platform’s firmware',
    kind: 'expectation',
  },
  'platform.build': {
    title: 'announced firmware build is an expected one',
    protects: 'a host could launch on another build of the firmware than one that the owner examined',
    hint: 'install an expected build, or examine this one and expect it',
    kind: 'expectation',
  },
});

/** The verdict over a platform that asks for a launch session, and the key to open the session to. */
export interface AppraisedPlatform {
  readonly appraisal: Appraisal;
  /** From the PDH certificate; present only when the Appraisal is accepted. */
  readonly pdh?: P384PublicKey;
}

/**
 * Verifies the platform that a host presents, down to a pinned root: with what the key service says of the chip (case
 * A), or with what the host forwards (case B).
 * @throws MalformedError for certificates that cannot be read
 * @throws UnavailableError when the key service does not answer for this chip
 * @throws InvalidArgumentError for case A without a key service
 */
export async function appraisePlatform(
  request: LaunchRequest,
  policy: number,
  expectations: PlatformExpectations,
): Promise<AppraisedPlatform> {
  const announcement = appraiseAnnouncement(request, policy, expectations);
  const certificates = splitCertificates(request);
  const { cek, certificateAuthority } =
    request.case === 'A'
      ? await askKeyService(request.chipId, expectations.keyService)
      : { cek: certificates.cek, certificateAuthority: request.certificateAuthority };
  const half = certificateAuthority.length / 2;
  const sev = (bytes: Uint8Array, name: string) =>
    parseSevCertificate(bytes, { offset: 0, path: `${name} certificate` });
  const ca = (bytes: Uint8Array, name: string) =>
    parseAmdCaCertificate(bytes, { offset: 0, path: `${name} certificate` });
  const chain = {
    pdh: sev(request.pdh, 'PDH'),
    pek: sev(certificates.pek, 'PEK'),
    oca: sev(certificates.oca, 'OCA'),
    cek: sev(cek, 'CEK'),
    ask: ca(certificateAuthority.subarray(0, half), 'ASK'),
    ark: ca(certificateAuthority.subarray(half), 'ARK'),
  };
  const verified = await verifyPlatformChain(chain, {
    roots: expectations.roots,
    owner: expectations.owner,
    exportedCek: request.case === 'A' ? certificates.cek : undefined,
  });
  const appraisal = {
    ...verified,
    subject: 'platform',
    checks: [...announcement.checks, ...verified.checks],
  };
  return verdict(appraisal).accepted ? { appraisal, pdh: p384KeyOf(chain.pdh) } : { appraisal };
}

function appraiseAnnouncement(
  request: LaunchRequest,
  policy: number,
  {
    minimumApi = { apiMajor: 0, apiMinor: 0 },
    allowApiBelow017 = false,
    expectedBuilds,
  }: PlatformExpectations,
): Appraisal {
  const appraiser = new Appraiser('announced firmware', announcementChecks);
  const found = `API ${apiVersionText(request)}`;
  appraiser.report('platform.api-binding', bindsMeasurement(request) || allowApiBelow017, {
    expected: allowApiBelow017 ? 'any API, as allowed' : 'API 0.17 or later',
    found,
  });
  const policyApi = minimumApiOf(policy);
  const least = apiAtLeast(policyApi, minimumApi) ? policyApi : minimumApi;
  appraiser.report('platform.api', apiAtLeast(request, least), {
    expected: `API ${apiVersionText(least)} or later`,
    found,
  });
  if (expectedBuilds === undefined) {
    appraiser.notAsked('platform.build', 'name the firmware builds that you expect');
  } else {
    appraiser.report('platform.build', expectedBuilds.includes(request.buildId), {
      expected: `build ${expectedBuilds.join(' or ')}`,
      found: `build ${request.buildId}`,
    });
  }
  return appraiser.finish();
}

function splitCertificates({ certificateChain }: LaunchRequest) {
  const length = certificateChain.length / 3;
  const part = (index: number) => certificateChain.slice(index * length, (index + 1) * length);
  return { pek: part(0), oca: part(1), cek: part(2) };
}

async function askKeyService(chipId: Uint8Array, keyService: KeyService | undefined) {
  if (keyService === undefined) {
    throw new InvalidArgumentError(
      'case',
      'this owner asks no key service: forward the whole chain (case B)',
    );
  }
  const cek = await keyService.cek(chipId);
  const { askArk } = await keyService.issuerOf(cek);
  return { cek, certificateAuthority: askArk };
}
