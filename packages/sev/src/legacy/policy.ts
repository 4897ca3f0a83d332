import { type BitValues, bitRange, bits, flag } from '../codec/bits.js';
import { type ApiVersion, apiVersionText } from './api-version.js';

const ranges = {
  noDebug: flag(0, 'NODBG', 'the host cannot debug the guest'),
  noKeySharing: flag(1, 'NOKS', 'no other guest shares the memory key'),
  encryptedState: flag(2, 'ES', 'registers are encrypted whenever the guest exits (SEV-ES)'),
  noSend: flag(3, 'NOSEND', 'the guest cannot be migrated'),
  domain: flag(4, 'DOMAIN', 'migration only to platforms of the same owner'),
  sev: flag(5, 'SEV', 'migration only to genuine SEV platforms'),
  apiMajor: bitRange(16, 8, 'API_MAJOR', 'least major version of the firmware API'),
  apiMinor: bitRange(24, 8, 'API_MINOR', 'least minor version of the firmware API'),
};

/** The guest policy of SEV and SEV-ES: 32 bits that the firmware holds the host to. */
export const guestPolicyBits = bits(
  { name: 'GUEST_POLICY', width: 32, source: 'SEV API 0.24, chapter 3, guest policy', reserved: 'report' },
  ranges,
);

type GuestPolicyFields = BitValues<typeof ranges>;

export interface GuestPolicy extends GuestPolicyFields {
  /** The whole word, reserved bits included: this is what the policy MAC and the measurement cover. */
  readonly word: number;
  /** Set bits to which the specification gives no meaning; firmware refuses to launch with any. */
  readonly reservedBits: number;
}

/**
 * Reads a guest policy. Reserved bits are kept, not refused, so that they can be named.
 * @throws InvalidArgumentError when `word` is not an unsigned number of 32 bits
 */
export function parseGuestPolicy(word: number): GuestPolicy {
  const fields = guestPolicyBits.parse(word);
  return { ...fields, word, reservedBits: Number(BigInt(word) & guestPolicyBits.reservedMask) };
}

/** @throws InvalidArgumentError when a version does not fit in its byte */
export function buildGuestPolicy(values: Partial<GuestPolicyFields>): number {
  return Number(guestPolicyBits.build(values));
}

/** The least firmware API that a policy asks for; 0.0 asks for nothing. */
export function minimumApiOf(word: number): ApiVersion {
  const { apiMajor, apiMinor } = parseGuestPolicy(word);
  return { apiMajor, apiMinor };
}

/** One line of what a policy lets a host do. */
export interface PolicyStatement {
  /** Name in the specification, for example `NODBG`. */
  readonly label: string;
  readonly set: boolean;
  /** What follows from it for the guest, as a sentence without its full stop. */
  readonly consequence: string;
  /** `open`: the host may do something that a careful owner forbids. `closed`: it may not. `info`: neither. */
  readonly concern: 'open' | 'closed' | 'info';
}

/**
 * Says in words what a policy lets a host do.
 * @throws InvalidArgumentError when `word` is not an unsigned number of 32 bits
 */
export function explainGuestPolicy(word: number): PolicyStatement[] {
  const policy = parseGuestPolicy(word);
  return [
    policy.noDebug
      ? closed('NODBG', 'the host cannot debug the guest')
      : open('NODBG', 'the host can read and change all of the guest’s memory with the debug commands'),
    policy.noKeySharing
      ? closed('NOKS', 'no other guest can share this guest’s memory key')
      : open('NOKS', 'the host can start other guests under the same memory key, which can read this one'),
    policy.encryptedState
      ? closed('ES', 'registers are encrypted and integrity-checked whenever the guest exits (SEV-ES)')
      : open('ES', 'the host can read and change registers whenever the guest exits (SEV without ES)'),
    ...explainMigration(policy),
    explainMinimumApi(policy),
    ...explainReservedBits(policy.reservedBits),
  ];
}

function explainMigration(policy: GuestPolicy): PolicyStatement[] {
  if (policy.noSend) {
    const idle = 'without effect, since NOSEND forbids migration';
    return [
      closed('NOSEND', 'this guest cannot be migrated'),
      { label: 'DOMAIN', set: policy.domain, consequence: idle, concern: 'info' },
      { label: 'SEV', set: policy.sev, consequence: idle, concern: 'info' },
    ];
  }
  return [
    policy.domain || policy.sev
      ? {
          label: 'NOSEND',
          set: false,
          consequence: `this guest can be migrated to ${targets(policy)}`,
          concern: 'info',
        }
      : open('NOSEND', 'this guest can be migrated to anyone'),
    policy.domain
      ? closed('DOMAIN', 'the target’s owner must hold the same owner certificate (OCA)')
      : { label: 'DOMAIN', set: false, consequence: 'the target may belong to any owner', concern: 'info' },
    policy.sev
      ? closed('SEV', 'the target must prove with AMD’s chain that it is a genuine SEV platform')
      : open('SEV', 'the target need not be a genuine SEV platform'),
  ];
}

function targets(policy: GuestPolicy): string {
  if (!policy.sev) return 'anything that its owner calls a platform of the same owner';
  return policy.domain ? 'genuine SEV platforms of the same owner' : 'any genuine SEV platform';
}

function explainMinimumApi(policy: GuestPolicy): PolicyStatement {
  const set = policy.apiMajor !== 0 || policy.apiMinor !== 0;
  return set
    ? closed('API', `firmware older than API ${apiVersionText(policy)} cannot launch the guest`)
    : open('API', 'firmware of any age can launch the guest');
}

function explainReservedBits(reservedBits: number): PolicyStatement[] {
  const positions = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (reservedBits >>> bit) & 1);
  return positions.map((bit) => ({
    label: `bit ${bit}`,
    set: true,
    consequence: 'reserved: firmware refuses to launch the guest',
    concern: 'info',
  }));
}

const closed = (label: string, consequence: string): PolicyStatement => ({
  label,
  set: true,
  consequence,
  concern: 'closed',
});

const open = (label: string, consequence: string): PolicyStatement => ({
  label,
  set: false,
  consequence,
  concern: 'open',
});
