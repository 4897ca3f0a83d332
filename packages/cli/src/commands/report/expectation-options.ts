import {
  fromHex,
  InvalidArgumentError,
  type PlatformExpectations,
  type PolicyExpectations,
  productLines,
  type SnpReportCheck,
  snpGuestPolicyBits,
  snpPlatformInfoBits,
  type TcbFloor,
  type TcbVersion,
} from '@vouchsafe/sev';
import type { Option } from '../../frame/command.js';
import {
  byte,
  choice,
  flag,
  grouped,
  hex,
  number,
  parsed,
  repeated,
  text,
  wideNumber,
  word,
} from '../../frame/options.js';
import { trustedKeyOptions } from '../id-block/key-options.js';
import { flagOptions } from './flag-options.js';

/**
 * What may be expected of a report: an option for each. Names are those of go-sev-guest's `check` where it has them. What
 * is not given here is taken from the expectations file, and what stands in neither is not asked.
 */

/** Bits that may be demanded: the property, and its name on the command line. */
export const policyFlags = {
  smt: 'smt',
  migrationAgent: 'migration-agent',
  debug: 'debug',
  singleSocket: 'single-socket',
  cxlAllowed: 'cxl',
  aes256Xts: 'aes-256-xts',
  raplDisabled: 'rapl-disabled',
  ciphertextHiding: 'ciphertext-hiding',
  pageSwapDisabled: 'page-swap-disabled',
} as const satisfies Record<keyof PolicyExpectations, string>;
export const platformFlags = {
  smtEnabled: 'smt',
  tsmeEnabled: 'tsme',
  eccEnabled: 'ecc',
  raplDisabled: 'rapl-disabled',
  ciphertextHidingEnabled: 'ciphertext-hiding',
  aliasCheckComplete: 'alias-check',
  tioEnabled: 'tio',
} as const satisfies Record<keyof PlatformExpectations, string>;

/** The component's name here, in snphost and go-sev-guest, and in the key distribution service. */
const componentNames: Readonly<Record<string, keyof TcbVersion>> = {
  ...{ fmc: 'fmc', fmcSPL: 'fmc' },
  ...{ bootloader: 'bootloader', bl: 'bootloader', blSPL: 'bootloader' },
  ...{ tee: 'tee', teeSPL: 'tee' },
  ...{ snp: 'snp', snpSPL: 'snp' },
  ...{ microcode: 'microcode', ucode: 'microcode', ucodeSPL: 'microcode' },
};

const guest = {
  reportData: hex('--report-data <hex>', 'REPORT_DATA, such as your fresh nonce: 64 bytes', 64),
  measurement: repeated(hex('--measurement <hex>', 'one of the launch digests to accept: 48 bytes', 48)),
  hostData: hex('--host-data <hex>', 'HOST_DATA: 32 bytes', 32),
  vmpl: number('--vmpl <n>', 'privilege level that asked for the report', { most: 3 }),
  familyId: hex('--family-id <hex>', 'FAMILY_ID of the ID block: 16 bytes', 16),
  imageId: hex('--image-id <hex>', 'IMAGE_ID of the ID block: 16 bytes', 16),
  minGuestSvn: number('--min-guest-svn <n>', 'least GUEST_SVN of the ID block', word),
  requireIdblock: flag('--require-idblock', 'the guest was launched with an ID block'),
  requireAuthorKey: flag('--require-author-key', 'an author key signed the ID key'),
  ...trustedKeyOptions,
  reportId: hex('--report-id <hex>', 'REPORT_ID of the very guest: 32 bytes', 32),
  reportIdMa: hex('--report-id-ma <hex>', 'REPORT_ID_MA, of its migration agent: 32 bytes', 32),
  minReportVersion: number('--min-report-version <n>', 'least version of the report', word),
};

const policy = {
  guestPolicy: wideNumber(
    '--guest-policy <n>',
    'the most permissive policy to accept: its ABI version at least, no more allowed, no less demanded',
  ),
  minAbi: parsed('--min-abi <major.minor>', 'least ABI version in the policy', readVersion),
  ...flagOptions('policy', policyFlags, snpGuestPolicyBits.ranges),
};

const chip = {
  product: repeated(choice('--product <line>', 'one of the product lines to accept', productLines)),
  signingKey: choice('--signing-key <kind>', 'kind of key that signed', ['VCEK', 'VLEK'] as const),
  cspId: repeated(
    text('--csp-id <name>', 'cloud operator of the VLEK to accept, as its certificate names it'),
  ),
  requireChipId: flag('--require-chip-id', 'the chip id is not masked'),
  chipId: repeated(parsed('--chip-id <hex>', 'chip to accept: 64 bytes, or the 8 of Turin', readChipId)),
  denyChipId: repeated(parsed('--deny-chip-id <hex>', 'chip to refuse: 64 bytes, or 8', readChipId)),
  minTcb: tcb('--min-tcb <parts>', 'floor for the reported TCB, which the signing key is derived for'),
  minCommittedTcb: tcb(
    '--min-committed-tcb <parts>',
    'floor for the committed TCB, below which the host cannot go back',
  ),
  minLaunchTcb: tcb('--min-launch-tcb <parts>', 'floor for the TCB when the guest was launched'),
  minCurrentTcb: tcb('--min-current-tcb <parts>', 'floor for the TCB that runs'),
  minBuild: number('--min-build <n>', 'least build of the firmware that runs', byte),
  minVersion: parsed('--min-version <major.minor>', 'least version of the firmware that runs', readVersion),
  minLaunchMitigationVector: wideNumber(
    '--min-launch-mitigation-vector <n>',
    'mitigations that must have been there at launch, as bits',
  ),
  minCurrentMitigationVector: wideNumber(
    '--min-current-mitigation-vector <n>',
    'mitigations that must be there now, as bits',
  ),
};

const platform = {
  platformInfo: wideNumber(
    '--platform-info <n>',
    'the worst PLATFORM_INFO to accept: SMT, TSME and TIO off unless set in it, every other bit that is set in it on',
  ),
  ...flagOptions('platform', platformFlags, snpPlatformInfoBits.ranges),
  refuseUnknownPlatformBits: flag(
    '--refuse-unknown-platform-bits',
    'no bit without a published meaning is set; genuine Turin chips set one',
  ),
};

export const expectationOptions = {
  ...grouped('Expectations of the guest', guest),
  ...grouped('Expectations of its policy', policy),
  ...grouped('Expectations of chip and firmware', chip),
  ...grouped('Expectations of the machine', platform),
};

/** The option that asks for each check. */
export const optionOfCheck: Readonly<Partial<Record<SnpReportCheck, string>>> = {
  'report.data': '--report-data',
  'report.measurement': '--measurement',
  'report.host-data': '--host-data',
  'report.id-block': '--require-idblock',
  'report.id-key': '--trusted-id-key-hashes or --trusted-id-keys',
  'report.author-key': '--trusted-author-key-hashes or --trusted-author-keys',
  'report.author-key-enabled': '--require-author-key',
  'report.family-id': '--family-id',
  'report.image-id': '--image-id',
  'report.guest-svn': '--min-guest-svn',
  'report.vmpl': '--vmpl',
  'report.signing-key': '--signing-key',
  'report.version': '--min-report-version',
  'report.report-id': '--report-id',
  'report.report-id-ma': '--report-id-ma',
  'report.chip-id': '--require-chip-id',
  'report.chip-allowed': '--chip-id',
  'report.chip-denied': '--deny-chip-id',
  'vek.allowed-line': '--product',
  'vek.csp-id': '--csp-id',
  'policy.abi': '--min-abi or --guest-policy',
  'policy.smt': '--policy-smt or --guest-policy',
  'policy.migration-agent': '--policy-migration-agent or --guest-policy',
  'policy.debug': '--policy-debug or --guest-policy',
  'policy.single-socket': '--policy-single-socket or --guest-policy',
  'policy.cxl': '--policy-cxl or --guest-policy',
  'policy.aes-256-xts': '--policy-aes-256-xts or --guest-policy',
  'policy.rapl': '--policy-rapl-disabled or --guest-policy',
  'policy.ciphertext-hiding': '--policy-ciphertext-hiding or --guest-policy',
  'policy.page-swap': '--policy-page-swap-disabled or --guest-policy',
  'tcb.reported': '--min-tcb',
  'tcb.committed': '--min-committed-tcb',
  'tcb.launch': '--min-launch-tcb',
  'tcb.current': '--min-current-tcb',
  'firmware.build': '--min-build',
  'firmware.version': '--min-version',
  'mitigations.launch': '--min-launch-mitigation-vector',
  'mitigations.current': '--min-current-mitigation-vector',
  'platform.smt': '--platform-smt or --platform-info',
  'platform.tsme': '--platform-tsme or --platform-info',
  'platform.ecc': '--platform-ecc or --platform-info',
  'platform.rapl': '--platform-rapl-disabled or --platform-info',
  'platform.ciphertext-hiding': '--platform-ciphertext-hiding or --platform-info',
  'platform.alias-check': '--platform-alias-check or --platform-info',
  'platform.tio': '--platform-tio or --platform-info',
  'platform.unknown-bits': '--refuse-unknown-platform-bits',
};

/** Components of a TCB version by name, all of them or some. */
export function tcb(flags: string, help: string): Option<TcbFloor | undefined> {
  return parsed(flags, `${help}: snp=24,microcode=219`, readTcbFloor);
}

function readTcbFloor(given: string, name: string): TcbFloor {
  const floor: Partial<Record<keyof TcbVersion, number>> = {};
  for (const part of given.split(',')) {
    const [, key = '', value = ''] = /^([A-Za-z]+)=(\d{1,3})$/.exec(part.trim()) ?? [];
    const component = Object.hasOwn(componentNames, key) ? componentNames[key] : undefined;
    if (component === undefined || Number(value) > 255 || floor[component] !== undefined) {
      const names = 'fmc, bootloader, tee, snp, microcode';
      const expected = `expected each of ${names} once or not at all, such as snp=24,microcode=219`;
      throw new InvalidArgumentError(name, expected);
    }
    floor[component] = Number(value);
  }
  return floor;
}

function readVersion(given: string, name: string): { readonly major: number; readonly minor: number } {
  const [, major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(given) ?? [];
  const version = { major: Number(major), minor: Number(minor) };
  if (version.major <= 0xff && version.minor <= 0xff) return version;
  throw new InvalidArgumentError(name, 'expected two numbers up to 255 with a point between, such as 1.55');
}

function readChipId(given: string, name: string): Uint8Array {
  const id = fromHex(given.replace(/^0x/i, ''), name);
  if (id.length === 8 || id.length === 64) return id;
  throw new InvalidArgumentError(name, `expected 64 bytes, or 8 for Turin, found ${id.length}`);
}
