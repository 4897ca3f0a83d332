import { type BitValues, bitRange, bits, flag } from '../codec/bits.js';
import type { Location } from '../codec/field.js';
import { MalformedError } from '../errors.js';
import type { PolicyStatement } from '../legacy/policy.js';

const ranges = {
  abiMinor: bitRange(0, 8, 'ABI_MINOR', 'least minor version of the firmware ABI'),
  abiMajor: bitRange(8, 8, 'ABI_MAJOR', 'least major version of the firmware ABI'),
  smt: flag(16, 'SMT', 'the host may run with simultaneous multithreading'),
  mustBeOne: flag(17, 'bit 17', 'reserved; always one'),
  migrationAgent: flag(18, 'MIGRATE_MA', 'the guest may be bound to a migration agent'),
  debug: flag(19, 'DEBUG', 'the host may read and write guest memory with the debug commands'),
  singleSocket: flag(20, 'SINGLE_SOCKET', 'the guest may run on one socket only'),
  cxlAllowed: flag(21, 'CXL_ALLOW', 'CXL devices and memory may be populated'),
  aes256Xts: flag(22, 'MEM_AES_256_XTS', 'memory must be encrypted with AES-256 in XTS mode'),
  raplDisabled: flag(23, 'RAPL_DIS', 'power measurement (RAPL) must be off'),
  ciphertextHiding: flag(24, 'CIPHERTEXT_HIDING_DRAM', 'ciphertext in memory must be hidden from the host'),
  pageSwapDisabled: flag(25, 'PAGE_SWAP_DISABLE', 'the host may not move or swap guest pages'),
};

/** The guest policy of SEV-SNP: 64 bits that the firmware holds the host to. */
export const snpGuestPolicyBits = bits(
  { name: 'GUEST_POLICY (SNP)', width: 64, source: 'SEV-SNP firmware ABI, POLICY', reserved: 'refuse' },
  ranges,
);

export type SnpGuestPolicyFields = BitValues<typeof ranges>;
export interface SnpGuestPolicy extends SnpGuestPolicyFields {
  readonly word: bigint;
}

/**
 * Reads a guest policy as the firmware accepts it: bit 17 one, reserved bits zero.
 * @throws MalformedError for a word that firmware refuses to launch a guest with
 * @throws InvalidArgumentError when `word` is not an unsigned number of 64 bits
 */
export function parseSnpGuestPolicy(word: bigint, location: Location = { offset: 0 }): SnpGuestPolicy {
  const fields = snpGuestPolicyBits.parse(word, location);
  if (!fields.mustBeOne) {
    throw new MalformedError({
      structure: location.path ?? snpGuestPolicyBits.name,
      field: ranges.mustBeOne.label,
      offset: location.offset,
      expected: 'one',
      found: 'zero',
    });
  }
  return { ...fields, word };
}

/** The word of a policy, bit 17 filled in. @throws InvalidArgumentError when a version does not fit in its byte */
export function buildSnpGuestPolicy(values: Partial<Omit<SnpGuestPolicyFields, 'mustBeOne'>>): bigint {
  return snpGuestPolicyBits.build({ ...values, mustBeOne: true });
}

/**
 * Says in words what a policy lets a host do. Words that no firmware accepts are explained too, and say so.
 * @throws InvalidArgumentError when `word` is not an unsigned number of 64 bits
 */
export function explainSnpPolicy(word: bigint): PolicyStatement[] {
  const strange = word & snpGuestPolicyBits.reservedMask;
  const policy = snpGuestPolicyBits.parse(word & ~strange);
  return [
    ...explainGrants(policy),
    ...explainDemands(policy),
    explainMinimumAbi(policy),
    ...(policy.mustBeOne ? [] : [refusedByFirmware(17, false)]),
    ...positionsOf(strange).map((bit) => refusedByFirmware(bit, true)),
  ];
}

/** Bits that give the host something when they are set. */
function explainGrants(policy: SnpGuestPolicyFields): PolicyStatement[] {
  return [
    policy.debug
      ? open('DEBUG', true, 'the host can read and change all of the guest’s memory with the debug commands')
      : closed('DEBUG', false, 'the host cannot debug the guest'),
    policy.migrationAgent
      ? open(
          'MIGRATE_MA',
          true,
          'the host may bind the guest to a migration agent, which can hand its memory to another machine',
        )
      : closed(
          'MIGRATE_MA',
          false,
          'the guest cannot be bound to a migration agent, so it stays on its chip',
        ),
    policy.smt
      ? open(
          'SMT',
          true,
          'a thread of the host or another guest may run on the same core, and watch it from there',
        )
      : closed('SMT', false, 'the guest starts only where simultaneous multithreading is off'),
    policy.cxlAllowed
      ? open('CXL_ALLOW', true, 'CXL devices and memory may be present in the machine')
      : closed('CXL_ALLOW', false, 'the guest starts only where no CXL device or memory is populated'),
  ];
}

/** Bits that ask something of the host when they are set. */
function explainDemands(policy: SnpGuestPolicyFields): PolicyStatement[] {
  return [
    policy.singleSocket
      ? closed('SINGLE_SOCKET', true, 'the guest runs on one socket only')
      : info('SINGLE_SOCKET', false, 'the guest may run across sockets'),
    policy.aes256Xts
      ? closed('MEM_AES_256_XTS', true, 'memory is encrypted with AES-256-XTS')
      : info(
          'MEM_AES_256_XTS',
          false,
          'memory is encrypted with AES-128-XEX or AES-256-XTS, as the host chose',
        ),
    policy.raplDisabled
      ? closed('RAPL_DIS', true, 'the host cannot measure power through RAPL')
      : open('RAPL_DIS', false, 'the host can measure power through RAPL, a side channel'),
    policy.ciphertextHiding
      ? closed('CIPHERTEXT_HIDING_DRAM', true, 'the host cannot read the guest’s memory even as ciphertext')
      : open(
          'CIPHERTEXT_HIDING_DRAM',
          false,
          'the host can watch ciphertext change in the guest’s memory, a side channel',
        ),
    policy.pageSwapDisabled
      ? closed('PAGE_SWAP_DISABLE', true, 'the host cannot move or swap out the guest’s pages')
      : info(
          'PAGE_SWAP_DISABLE',
          false,
          'the host may move and swap out the guest’s pages, encrypted and authenticated',
        ),
  ];
}

function explainMinimumAbi({ abiMajor, abiMinor }: SnpGuestPolicyFields): PolicyStatement {
  return abiMajor !== 0 || abiMinor !== 0
    ? closed('ABI', true, `firmware older than ABI ${abiMajor}.${abiMinor} cannot launch the guest`)
    : open('ABI', false, 'firmware of any age can launch the guest');
}

const positionsOf = (word: bigint) =>
  Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((word >> BigInt(bit)) & 1n) === 1n);

const refusedByFirmware = (bit: number, set: boolean): PolicyStatement => ({
  label: `bit ${bit}`,
  set,
  consequence: `reserved, must be ${set ? 'zero' : 'one'}: firmware refuses to launch the guest`,
  concern: 'info',
});

const statement =
  (concern: PolicyStatement['concern']) =>
  (label: string, set: boolean, consequence: string): PolicyStatement => ({
    label,
    set,
    consequence,
    concern,
  });
const open = statement('open');
const closed = statement('closed');
const info = statement('info');
