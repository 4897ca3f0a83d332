import { type Appraisal, Appraiser, type RootOfTrust } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { toHex, u32le } from '../bytes.js';
import { bytesField } from '../codec/fields.js';
import { type Parsed, structure } from '../codec/structure.js';
import { constantTimeEqual, hmacSha256, type KeyBytes } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import { type ApiVersion, apiAtLeast, apiVersionText } from './api-version.js';
import { minimumApiOf, parseGuestPolicy } from './policy.js';

/** First byte of what the firmware's HMACs cover: it keeps one kind of message from passing for another. */
export const macContexts = {
  LAUNCH_SECRET: 0x01,
  UPDATE_DATA: 0x02,
  UPDATE_VMSA: 0x03,
  LAUNCH_MEASURE: 0x04,
} as const;

/** What LAUNCH_MEASURE returns; QEMU and the tools carry it as base64. */
export const launchMeasurementBlob = structure(
  { name: 'launch measurement', size: 0x30, source: 'SEV API 0.24, LAUNCH_MEASURE' },
  {
    measurement: bytesField(0x00, 32, 'HMAC-SHA-256 over platform, policy and launch digest under the TIK'),
    mnonce: bytesField(0x20, 16, 'nonce that the firmware drew for this measurement'),
  },
);

export interface LaunchMeasurement {
  /** 32 bytes. */
  readonly measurement: Uint8Array;
  /** 16 bytes. */
  readonly mnonce: Uint8Array;
}

/** @throws MalformedError when the blob is not 48 bytes long */
export function parseLaunchMeasurement(blob: Uint8Array): Parsed<LaunchMeasurement> {
  return launchMeasurementBlob.parse(blob);
}

/** API and build of a platform's firmware, as PLATFORM_STATUS and `query-sev` report them. */
export interface FirmwareVersion extends ApiVersion {
  readonly buildId: number;
}

const firstBinding: ApiVersion = { apiMajor: 0, apiMinor: 17 };

/**
 * Whether firmware of this API binds its own version into the measurement, and the measurement into secret packets.
 * Before 0.17 it does neither: its version is hearsay, and a packet fits any launch under the same keys.
 */
export function bindsMeasurement(api: ApiVersion): boolean {
  return apiAtLeast(api, firstBinding);
}

export interface MeasureOptions extends FirmwareVersion {
  /** 16 bytes. */
  readonly tik: KeyBytes;
  readonly policy: number;
  /** SHA-256 over everything that was launched, 32 bytes. */
  readonly launchDigest: Uint8Array;
  /** 16 bytes. */
  readonly mnonce: Uint8Array;
}

/**
 * The launch measurement (SEV API 0.24, LAUNCH_MEASURE): `HMAC-SHA-256(TIK, 0x04 ‖ major ‖ minor ‖ build ‖ policy ‖
 * launch digest ‖ mnonce)`, policy little-endian. Before API 0.17 the first four bytes are absent.
 * @returns 32 bytes
 * @throws InvalidArgumentError when a value does not fit its place
 */
export async function measureLaunch(options: MeasureOptions): Promise<Uint8Array> {
  const { tik, apiMajor, apiMinor, buildId, policy, launchDigest, mnonce } = options;
  requireByte({ apiMajor, apiMinor, buildId });
  requireLength({ launchDigest: [launchDigest, 32], mnonce: [mnonce, 16] });
  const platform = bindsMeasurement(options)
    ? Uint8Array.of(macContexts.LAUNCH_MEASURE, apiMajor, apiMinor, buildId)
    : new Uint8Array();
  return hmacSha256(tik, platform, u32le(parseGuestPolicy(policy).word), launchDigest, mnonce);
}

function requireByte(values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isInteger(value) || value < 0 || value > 0xff) {
      throw new InvalidArgumentError(name, `expected a number from 0 to 255, found ${value}`);
    }
  }
}

function requireLength(values: Record<string, readonly [Uint8Array, number]>): void {
  for (const [name, [bytes, length]] of Object.entries(values)) {
    if (bytes.length !== length) {
      throw new InvalidArgumentError(name, `expected ${length} bytes, found ${bytes.length}`);
    }
  }
}

export const launchMeasurementChecks = checkTable({
  'measurement.form': {
    title: 'measurement is complete',
    protects: 'a truncated or padded measurement would be read as another one',
    hint: 'ask the host for the 48 bytes that LAUNCH_MEASURE returned',
    kind: 'authenticity',
  },
  'measurement.api-binding': {
    title: 'firmware binds its version and its measurement',
    protects:
      'before API 0.17 a host can lie about the version, and a secret packet fits any launch under the same keys',
    hint: 'update the platform’s firmware; to accept this limit, allow API below 0.17 by name',
    kind: 'authenticity',
  },
  'measurement.policy-api': {
    title: 'firmware is as new as the policy asks',
    protects: 'an emulated or broken firmware could launch the guest below the API that its policy demands',
    hint: 'update the platform’s firmware, or create the session with a policy that asks for less',
    kind: 'expectation',
  },
  'measurement.minimum-api': {
    title: 'firmware is as new as the owner asks',
    protects: 'a host could launch on firmware with flaws that a later version repaired',
    hint: 'update the platform’s firmware',
    kind: 'expectation',
  },
  'measurement.build': {
    title: 'firmware build is the expected one',
    protects: 'a host could launch on another build of the firmware than the one that the owner examined',
    hint: 'install the expected build, or examine this one and expect it',
    kind: 'expectation',
  },
  'measurement.digest': {
    title: 'measurement is that of an expected launch',
    protects:
      'another firmware, kernel, initrd, command line or CPU state, another guest, or an old launch could pass for this one',
    hint: 'compute the digest of what was really launched (`vouchsafe digest explain` names what differs) and check that the session belongs to this launch',
    kind: 'expectation',
  },
});

export interface ExpectedLaunchDigest {
  /** For people, and for the report of which one matched: `web server 12, 4 CPUs`. */
  readonly name: string;
  /** 32 bytes, computed by the owner from the images themselves. */
  readonly digest: Uint8Array;
}

export interface AppraiseMeasurementOptions {
  /** What LAUNCH_MEASURE returned, as the host relays it: 48 bytes are expected. */
  readonly blob: Uint8Array;
  /** The TIK of the one session that this measurement may answer, 16 bytes. */
  readonly tik: KeyBytes;
  /** The policy that the owner bound to the session. */
  readonly policy: number;
  readonly expectedDigests: readonly ExpectedLaunchDigest[];
  /** What the host says about its firmware. From API 0.17 on, a lie changes the measurement. */
  readonly platform: FirmwareVersion;
  readonly minimumApi?: ApiVersion;
  readonly expectedBuild?: number;
  /** Accepts firmware that does not bind its version; see {@link bindsMeasurement}. */
  readonly allowApiBelow017?: boolean;
  /** The root that the platform's chain led to. */
  readonly root?: RootOfTrust;
}

/**
 * The guest owner's verdict over a launch measurement.
 * @throws InvalidArgumentError when what the owner gave (not the host) cannot be used
 */
export async function appraiseLaunchMeasurement(options: AppraiseMeasurementOptions): Promise<Appraisal> {
  const { blob, policy, platform, minimumApi, expectedBuild } = options;
  const appraiser = new Appraiser('launch measurement', launchMeasurementChecks);
  const policyApi = minimumApiOf(policy);
  const bound = bindsMeasurement(platform);
  const version = `API ${apiVersionText(platform)}${bound ? '' : ', claimed by the host and not bound'}`;

  const complete = appraiser.report('measurement.form', blob.length === launchMeasurementBlob.size, {
    expected: `${launchMeasurementBlob.size} bytes`,
    found: `${blob.length} bytes`,
  });
  appraiser.report('measurement.api-binding', bound || options.allowApiBelow017 === true, {
    expected: bound || options.allowApiBelow017 !== true ? 'API 0.17 or later' : 'any API, as allowed',
    found: version,
  });
  appraiser.report('measurement.policy-api', apiAtLeast(platform, policyApi), {
    expected: `API ${apiVersionText(policyApi)} or later`,
    found: version,
  });
  if (minimumApi === undefined) {
    appraiser.notAsked('measurement.minimum-api', 'name the least API that you accept');
  } else {
    appraiser.report('measurement.minimum-api', apiAtLeast(platform, minimumApi), {
      expected: `API ${apiVersionText(minimumApi)} or later`,
      found: version,
    });
  }
  if (expectedBuild === undefined) {
    appraiser.notAsked('measurement.build', 'name the firmware build that you expect');
  } else {
    appraiser.report('measurement.build', bound && platform.buildId === expectedBuild, {
      expected: `build ${expectedBuild}`,
      found: `build ${platform.buildId}${bound ? '' : ', claimed by the host and not bound'}`,
    });
  }
  if (complete) {
    const match = await matchingDigest(parseLaunchMeasurement(blob), options);
    appraiser.report('measurement.digest', match !== undefined, {
      expected: namesOf(options.expectedDigests),
      found:
        match === undefined ? 'a measurement of something else, or under other keys' : describeDigest(match),
    });
  } else {
    appraiser.report('measurement.digest', false, {
      expected: namesOf(options.expectedDigests),
      found: 'no measurement to compare',
    });
  }
  return appraiser.finish(options.root);
}

/** Compares with every expected digest, so that the duration does not tell which one matched. */
async function matchingDigest(
  { measurement, mnonce }: LaunchMeasurement,
  { tik, policy, platform, expectedDigests }: AppraiseMeasurementOptions,
): Promise<ExpectedLaunchDigest | undefined> {
  let match: ExpectedLaunchDigest | undefined;
  for (const expected of expectedDigests) {
    const { apiMajor, apiMinor, buildId } = platform;
    const launchDigest = expected.digest;
    const value = await measureLaunch({ tik, apiMajor, apiMinor, buildId, policy, launchDigest, mnonce });
    if (constantTimeEqual(value, measurement)) match ??= expected;
  }
  return match;
}

function namesOf(digests: readonly ExpectedLaunchDigest[]): string {
  if (digests.length === 0) return 'at least one expected launch digest';
  return digests.map(describeDigest).join(', or ');
}

const describeDigest = ({ name, digest }: ExpectedLaunchDigest) => `${name} (${toHex(digest)})`;
