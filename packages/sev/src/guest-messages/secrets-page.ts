import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, reserved, u8, u16, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { Secret } from '../secret.js';

const source =
  'SEV-SNP firmware ABI, secrets page; linux arch/x86/include/asm/sev.h, struct snp_secrets_page';
const vmpck = (number: number) =>
  bytesField(0x20 + 32 * number, 32, `VMPCK${number}: key of guest messages for VMPL ${number} and above`);
const zero = { default: 0 } as const;
const low = (vmpl: number) => u32(0xa0 + 4 * vmpl, `low half of VMPCK${vmpl}'s sequence number`, zero);
const high = (vmpl: number) => u32(0xb8 + 4 * vmpl, `high half of VMPCK${vmpl}'s sequence number`, zero);

/**
 * The page in which the firmware hands a guest its keys. Newer firmware fills bytes that are reserved here, so those are
 * reported and not refused. It holds keys: do not print it, and read it with {@link takeSecretsPage}.
 */
export const secretsPage = structure(
  { name: 'secrets page', size: 4096, source },
  {
    version: u32(0x000, 'version of this format: 2, or 3 with the fields at 0x160'),
    flags: bitsField(
      0x004,
      bits(
        { name: 'secrets page, flags', width: 32, source, reserved: 'report' },
        { initialMigrationImage: flag(0, 'IMI_EN', 'the launch was of an initial migration image') },
      ),
      'how the guest was launched',
      { default: { initialMigrationImage: false } },
    ),
    fms: u32(0x008, 'family, model and stepping of the processor, as EAX of CPUID function 1'),
    reserved00c: reserved(0x00c, 4, 'report'),
    gosvw: bytesField(0x010, 16, 'visible workarounds, from LAUNCH_START', { default: new Uint8Array(16) }),
    vmpck0: vmpck(0),
    vmpck1: vmpck(1),
    vmpck2: vmpck(2),
    vmpck3: vmpck(3),
    sequence0Low: low(0),
    sequence1Low: low(1),
    sequence2Low: low(2),
    sequence3Low: low(3),
    apJumpTable: u64(0x0b0, 'address of the jump table of further vCPUs, written by the guest', {
      default: 0n,
    }),
    sequence0High: high(0),
    sequence1High: high(1),
    sequence2High: high(2),
    sequence3High: high(3),
    reserved0c8: reserved(0x0c8, 22, 'report'),
    guestAreaVersion: u16(0x0de, 'version of the guest’s own fields', zero),
    guestArea: bytesField(0x0e0, 32, 'for the guest’s use', { default: new Uint8Array(32) }),
    vmsaTweakBitmap: bytesField(0x100, 64, 'bits of the VMSA that are mixed with a random number', {
      default: new Uint8Array(64),
    }),
    svsmBase: u64(0x140, 'address of the SVSM, filled in by it', { default: 0n }),
    svsmSize: u64(0x148, 'size of the SVSM', { default: 0n, unit: 'bytes' }),
    svsmCallingArea: u64(0x150, 'address of the SVSM’s calling area', { default: 0n }),
    svsmMaxVersion: u32(0x158, 'highest protocol version of the SVSM', zero),
    svsmGuestVmpl: u8(0x15c, 'VMPL of the guest above the SVSM', zero),
    reserved15d: reserved(0x15d, 3, 'report'),
    tscFactor: u32(0x160, 'TSC_FACTOR, as in MSG_TSC_INFO_RSP', zero),
    reserved164: reserved(0x164, 4, 'report'),
    launchMitigationVector: u64(0x168, 'mitigations that were verified when the guest was launched', {
      default: 0n,
    }),
    reserved170: reserved(0x170, 0xe90, 'report'),
  },
);

/** What a guest takes from its secrets page. */
export interface SecretsPage {
  readonly version: number;
  /** Family, model and stepping, as EAX of CPUID function 1. */
  readonly fms: number;
  readonly launchMitigationVector: bigint;
  /** VMPCK0 to VMPCK3, 32 bytes each; those that a more privileged layer wiped are zero. */
  readonly vmpcks: readonly [Secret, Secret, Secret, Secret];
  /** How far the sequence numbers of the four keys had got: the number of the last message, 0 at launch. */
  readonly sequences: readonly [bigint, bigint, bigint, bigint];
}

/**
 * Reads a secrets page and zeroes the given bytes: afterwards the keys are in the secrets and nowhere else.
 * @param bytes 4096 bytes, which are overwritten
 * @throws MalformedError for another length
 */
export function takeSecretsPage(bytes: Uint8Array): SecretsPage {
  const page = secretsPage.parse(bytes);
  const { version, fms, launchMitigationVector } = page;
  const sequence = (lowHalf: number, highHalf: number) => (BigInt(highHalf) << 32n) | BigInt(lowHalf);
  try {
    return {
      version,
      fms,
      launchMitigationVector,
      vmpcks: [
        Secret.copyOf(page.vmpck0),
        Secret.copyOf(page.vmpck1),
        Secret.copyOf(page.vmpck2),
        Secret.copyOf(page.vmpck3),
      ],
      sequences: [
        sequence(page.sequence0Low, page.sequence0High),
        sequence(page.sequence1Low, page.sequence1High),
        sequence(page.sequence2Low, page.sequence2High),
        sequence(page.sequence3Low, page.sequence3High),
      ],
    };
  } finally {
    page.raw.fill(0);
    bytes.fill(0);
  }
}
